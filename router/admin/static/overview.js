// The overview: asks /admin/v1/status every two seconds and lays the answer out. Reads only.
"use strict";

const REFRESH_MS = 2000;
const TOKEN = "shepherd-token"; // of this tab: sessionStorage ends with it

const at = (id) => document.getElementById(id);

// Everything shown passes through textContent: no name or reason can become markup.
function make(tag, text = "", className = "") {
  const element = document.createElement(tag);
  element.textContent = text;
  if (className) element.className = className;
  return element;
}

function row(...cells) {
  const line = document.createElement("tr");
  for (const cell of cells) line.append(cell instanceof Node ? cell : make("td", cell));
  return line;
}

const percent = (basisPoints) => `${Number((basisPoints / 100).toFixed(2))} %`;
const count = (number) => make("td", Number(number ?? 0).toLocaleString("en"), "number");

function trafficOf(policy) {
  const article = make("article");
  article.append(make("h3", policy.model));
  const bar = make("div", "", "bar");
  const legend = make("ul", "", "legend");
  policy.variants.forEach((variant, index) => {
    const share = make("span", "", `share tone-${index % 6}`);
    share.style.flexGrow = variant.weight;
    share.title = `${variant.name}: ${percent(variant.weight)}`;
    if (variant.weight > 0) bar.append(share);
    const entry = make("li");
    entry.append(
      make("span", "", `dot tone-${index % 6}`),
      make("strong", variant.name),
      ` version ${variant.version} · ${percent(variant.weight)}`,
    );
    legend.append(entry);
  });
  for (const shadow of policy.shadows ?? []) {
    legend.append(make("li", `shadow: version ${shadow.version} · copies of ${percent(shadow.sample)}`, "quiet"));
  }
  const when = new Date(policy.at * 1000).toLocaleString();
  article.append(bar, legend, make("p", `Revision ${policy.revision} by ${policy.actor}, ${when}: ${policy.reason}`, "quiet"));
  return article;
}

function versionRow(status) {
  const state = make("td");
  state.append(make("span", status.state, `state ${status.state}`));
  return row(
    status.model,
    String(status.version),
    state,
    `${status.replicas.length} / ${status.target_replicas}`,
    status.replicas.map((replica) => `${replica.pid} on ${replica.node}`).join(", "),
    status.reason,
  );
}

function logRow(name, books) {
  const dropped = Object.entries(books.dropped ?? {}).filter(([, number]) => number > 0);
  const cell = make("td", dropped.map(([reason, number]) => `${number} ${reason}`).join(", ") || "0");
  if (dropped.length) cell.className = "failed";
  return row(name, count(books.requests), count(books.logged), count(books.sampled_out), cell);
}

function show(status) {
  at("problems").replaceChildren(...status.problems.map((problem) => make("li", problem)));
  const policies = status.policies ?? [];
  at("traffic").replaceChildren(...(policies.length ? policies.map(trafficOf) : [make("p", "No policies yet.", "quiet")]));
  at("versions").replaceChildren(...(status.models ?? []).flatMap((model) => model.versions.map(versionRow)));
  const models = Object.entries(status.log.models ?? {});
  at("log").replaceChildren(logRow("all", status.log), ...models.map(([name, books]) => logRow(name, books)));
  const facts = Object.entries(status.gateway).flatMap(([name, value]) => [
    make("dt", name.replaceAll("_", " ")),
    make("dd", typeof value === "object" ? JSON.stringify(value) : String(value)),
  ]);
  at("gateway").replaceChildren(...facts);
  at("moment").textContent = new Date().toLocaleTimeString();
}

function ask(refusal = "") {
  sessionStorage.removeItem(TOKEN);
  at("refusal").textContent = refusal;
  at("enter").hidden = false;
  at("overview").hidden = at("leave").hidden = true;
  at("moment").textContent = "";
  at("token").focus();
}

async function refresh() {
  const token = sessionStorage.getItem(TOKEN);
  if (!token) return;
  try {
    const answer = await fetch("/admin/v1/status", { headers: { Authorization: `Bearer ${token}` } });
    const body = await answer.json();
    if (answer.status === 401) return ask(body.detail);
    if (!answer.ok) throw new Error(body.detail);
    at("enter").hidden = true;
    at("overview").hidden = at("leave").hidden = false;
    show(body);
  } catch (error) {
    at("moment").textContent = `No answer: ${error.message}`;
  }
}

async function refreshForever() {
  await refresh();
  setTimeout(refreshForever, REFRESH_MS);
}

at("enter").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem(TOKEN, at("token").value.trim());
  at("token").value = "";
  refresh();
});
at("leave").addEventListener("click", () => ask());

if (!sessionStorage.getItem(TOKEN)) ask();
refreshForever();
