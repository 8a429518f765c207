// The overview: asks for the state of everything every two seconds, and lays it out.

import { at, button, count, hold, make, row, when } from "./elements.js";
import { read, Refused, token } from "./gateway.js";
import { giveTraffic } from "./moving.js";
import { Card } from "./traffic.js";

const REFRESH_MS = 2000;
const MOST_CARDS = 30;
const cards = new Map();

function versionRow(status) {
  const state = hold("td", "", make("span", status.state, `state ${status.state}`));
  const areApart = new Set(status.replicas.map((replica) => replica.node)).size > 1;
  const named = (replica) => (areApart ? `${replica.pid} on ${replica.node.slice(0, 8)}` : `${replica.pid}`);
  const processes = status.replicas.map(named).join(", ");
  return row(status.model, String(status.version), state, `${status.replicas.length} / ${status.target_replicas}`, processes, status.reason);
}

function logRow(name, accounting) {
  const dropped = Object.entries(accounting.dropped ?? {}).filter(([, number]) => number > 0);
  const cell = make("td", dropped.map(([reason, number]) => `${number} ${reason}`).join(", ") || "0");
  if (dropped.length) cell.className = "failed";
  return row(name, count(accounting.requests), count(accounting.logged), count(accounting.sampled_out), cell);
}

function incidentLine(incident) {
  const where = `${incident.model} version ${incident.version}`;
  return hold("li", "", make("span", incident.severity, `severity ${incident.severity}`), ` ${where} since ${when(incident.opened_at)}: `,
    make("span", Object.entries(incident.evidence).map(evidenceWords).join("; "), "quiet"));
}

function evidenceWords([arm, found]) {
  const parts = [];
  if (found.drift) parts.push(`drift in ${Object.keys(found.drift).join(", ")}`);
  if (found.faults) parts.push(found.faults.map((fault) => `${fault.fault} in ${fault.column}`).join(", "));
  if (typeof found.performance?.drop === "number") parts.push(`${(found.performance.drop * 100).toFixed(1)} % worse by labels`);
  if (typeof found.estimate?.drop === "number") parts.push(`${(found.estimate.drop * 100).toFixed(1)} % worse by estimate`);
  return `${arm}: ${parts.join(", ") || "see shepherd incidents"}`;
}

function showTraffic(policies, models, rollouts) {
  const wanted = at("filter").value.trim().toLowerCase();
  const chosen = policies.filter((policy) => policy.model.toLowerCase().includes(wanted));
  const versions = new Map(models.map((model) => [model.name, model.versions.map((each) => each.version)]));
  const shown = chosen.slice(0, MOST_CARDS);
  const elements = shown.map((policy) => {
    if (!cards.has(policy.model)) cards.set(policy.model, new Card(refresh));
    const card = cards.get(policy.model);
    card.show(policy, versions.get(policy.model) ?? [], rollouts.get(policy.model));
    return card.element;
  });
  place(at("traffic"), elements.length ? elements : [make("p", policies.length ? "No such model." : "No policies yet.", "quiet")]);
  const without = models.filter((model) => !policies.some((policy) => policy.model === model.name));
  at("without").replaceChildren(...without.slice(0, MOST_CARDS).map(withoutPolicy));
  at("filter").hidden = policies.length < 5;
  at("more").hidden = chosen.length <= MOST_CARDS;
  at("more").textContent = `${chosen.length - MOST_CARDS} more: filter by name.`;
}

function withoutPolicy(model) {
  const numbers = model.versions.map((each) => each.version);
  const give = button("Send traffic", async () => (await giveTraffic(model.name, numbers)) && refresh(), "small");
  return hold("li", "quiet", `${model.name} has no policy, so it gets no traffic `, give);
}

/** Put elements in a place; nothing is touched when they are there already, as touching closes menus and loses focus. */
function place(parent, elements) {
  if (elements.length === parent.children.length && elements.every((each, index) => each === parent.children[index])) return;
  parent.replaceChildren(...elements);
}

function show(status, rollouts, incidents) {
  at("problems").replaceChildren(...status.problems.map((problem) => make("li", problem)));
  const open = incidents.filter((incident) => incident.resolved_at === null);
  at("incidents-section").hidden = !open.length;
  at("incidents").replaceChildren(...open.map(incidentLine));
  showTraffic(status.policies ?? [], status.models ?? [], new Map(rollouts.map((each) => [each.model, each])));
  at("versions").replaceChildren(...(status.models ?? []).flatMap((model) => model.versions.map(versionRow)));
  const accounting = status.log === null ? [] : [["all", status.log], ...Object.entries(status.log.models ?? {})];
  at("log").replaceChildren(...accounting.map(([name, each]) => logRow(name, each)));
  const facts = Object.entries(status.gateway).flatMap(([name, value]) => [
    make("dt", name.replaceAll("_", " ")),
    make("dd", typeof value === "object" ? JSON.stringify(value) : String(value)),
  ]);
  at("gateway").replaceChildren(...facts);
  at("moment").textContent = new Date().toLocaleTimeString();
}

function ask(refusal = "") {
  token.forget();
  at("refusal").textContent = refusal;
  at("enter").hidden = false;
  at("overview").hidden = at("leave").hidden = true;
  at("moment").textContent = "";
  at("token").focus();
}

/** What Redis or the monitor cannot tell now is left out; the overview is needed most when something is away. */
const orNone = (path, name) => read(path).then((answer) => answer[name], (error) => {
  if (error instanceof Refused && error.status !== 401) return [];
  throw error;
});

async function refresh() {
  if (!token.get()) return;
  try {
    const parts = [read("/status"), orNone("/rollouts?limit=1000", "rollouts"), orNone("/incidents", "incidents")];
    const [status, rollouts, incidents] = await Promise.all(parts);
    at("enter").hidden = true;
    at("overview").hidden = at("leave").hidden = false;
    show(status, rollouts, incidents);
  } catch (error) {
    if (error.status === 401) return ask(error.message);
    at("moment").textContent = `No answer: ${error.message}`;
  }
}

async function refreshForever() {
  await refresh();
  setTimeout(refreshForever, REFRESH_MS);
}

at("enter").addEventListener("submit", (event) => {
  event.preventDefault();
  token.keep(at("token").value.trim());
  at("token").value = "";
  refresh();
});
at("leave").addEventListener("click", () => ask());
at("filter").addEventListener("input", refresh);

if (!token.get()) ask();
refreshForever();
