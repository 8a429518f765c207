// The API's documentation: lays out /openapi.json. Ours, and not a script from elsewhere, beside a token that moves traffic.
"use strict";

function make(tag, text = "", className = "") {
  const element = document.createElement(tag);
  element.textContent = text;
  if (className) element.className = className;
  return element;
}

// Follows references into the description's components.
function resolved(schema, description) {
  if (!schema?.$ref) return schema ?? {};
  return schema.$ref.split("/").slice(1).reduce((part, key) => part[key], description);
}

function typeOf(schema) {
  if (schema.anyOf) return schema.anyOf.map(typeOf).filter((type) => type !== "null").join(" or ");
  return schema.format ? `${schema.type} (${schema.format})` : schema.type ?? "any";
}

function fieldRow(name, place, required, schema, text) {
  const line = document.createElement("tr");
  const about = [text ?? schema.description, schema.default !== undefined ? `Default: ${JSON.stringify(schema.default)}.` : ""];
  line.append(
    make("td", name + (required ? " *" : "")),
    make("td", place),
    make("td", typeOf(schema)),
    make("td", about.filter(Boolean).join(" ")),
  );
  return line;
}

function operationOf(method, path, operation, description) {
  const details = make("details");
  const [sentence, ...rest] = operation.description.split(/(?<=\.) (?=[A-Z`])/);
  const title = make("summary");
  title.append(make("span", method.toUpperCase(), `method ${method}`), make("code", path), make("span", sentence, "quiet"));
  details.append(title);
  if (rest.length) details.append(make("p", rest.join(" ")));
  const rows = (operation.parameters ?? []).map((parameter) =>
    fieldRow(parameter.name, parameter.in, parameter.required, parameter.schema, parameter.description));
  const media = operation.requestBody?.content?.["application/json"];
  const body = resolved(media?.schema, description);
  for (const [name, schema] of Object.entries(body.properties ?? {})) {
    rows.push(fieldRow(name, "body", body.required?.includes(name), resolved(schema, description)));
  }
  if (rows.length) {
    const table = document.createElement("table");
    table.append(...rows);
    details.append(table);
  }
  for (const example of body.examples ?? []) details.append(make("pre", JSON.stringify(example, null, 2)));
  return details;
}

async function show() {
  const description = await (await fetch("/openapi.json")).json();
  const sections = new Map();
  for (const [path, methods] of Object.entries(description.paths)) {
    for (const [method, operation] of Object.entries(methods)) {
      const tag = operation.tags?.[0] ?? "other";
      if (!sections.has(tag)) sections.set(tag, [make("h2", tag)]);
      sections.get(tag).push(operationOf(method, path, operation, description));
    }
  }
  document.getElementById("operations").replaceChildren(...[...sections.values()].flat());
}

show();
