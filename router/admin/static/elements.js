// Building blocks of the page. Everything shown passes through textContent: no name or reason can become markup.

export const at = (id) => document.getElementById(id);

export function make(tag, text = "", className = "") {
  const element = document.createElement(tag);
  element.textContent = text;
  if (className) element.className = className;
  return element;
}

/** An element with children, which may be nodes or text. */
export function hold(tag, className, ...children) {
  const element = make(tag, "", className);
  element.append(...children);
  return element;
}

export function button(text, onClick, className = "") {
  const element = make("button", text, className);
  element.type = "button";
  element.addEventListener("click", onClick);
  return element;
}

export function row(...cells) {
  const line = document.createElement("tr");
  for (const cell of cells) line.append(cell instanceof Node ? cell : make("td", cell));
  return line;
}

/** A labelled input; `attributes` are the input's. */
export function field(label, attributes) {
  const input = Object.assign(document.createElement("input"), { autocomplete: "off", ...attributes });
  return [hold("label", "field", label, " ", input), input];
}

/** A labelled choice; `options` are [value, text]. */
export function choice(label, options, chosen) {
  const select = document.createElement("select");
  for (const [value, text] of options) select.append(new Option(text, value, false, String(value) === String(chosen)));
  return [hold("label", "field", label, " ", select), select];
}

/** Basis points as people say them: 1250 is 12.5 %. */
export const percent = (basisPoints) => `${Number((basisPoints / 100).toFixed(2))} %`;
export const share = (ratio) => `${Number((ratio * 100).toFixed(1))} %`;
export const count = (number) => make("td", Number(number ?? 0).toLocaleString("en"), "number");
export const when = (seconds) => new Date(seconds * 1000).toLocaleString();
