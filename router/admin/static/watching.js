// What is known of a model beyond its traffic, read when somebody opens it: shadows, drift, labels, history.

import { button, hold, make, percent, share, when } from "./elements.js";
import { read, Refused } from "./gateway.js";
import { restore } from "./moving.js";

const REVISIONS_SHOWN = 8;

/** Fetch and lay out the details of a model; parts that it does not have are left out. */
export async function details(policy, done) {
  const name = encodeURIComponent(policy.model);
  const [shadow, drift, performance, past] = await Promise.all(
    [`/models/${name}/shadow`, `/drift/${name}`, `/performance/${name}`, `/policies/${name}/revisions`].map(part),
  );
  return [...shadows(shadow), ...drifts(drift), ...performances(performance), ...history(policy, past, done)];
}

async function part(path) {
  try {
    return await read(path);
  } catch (error) {
    if (error instanceof Refused) return null;
    throw error;
  }
}

function titled(title, items) {
  return items.length ? [make("h4", title), hold("ul", "facts", ...items)] : [];
}

function shadows(found) {
  return titled("Shadows", (found?.shadows ?? []).map((each) => make("li", `version ${each.version}: ${each.words}`)));
}

function drifts(found) {
  const lines = (found?.versions ?? []).flatMap((version) => version.arms.map((arm) => {
    const where = `version ${version.version}, ${arm.arm}: `;
    if (version.reference.kind === "gathering") return make("li", `${where}collecting its reference, ${version.reference.rows} rows so far`, "quiet");
    if (arm.alarmed.length) return make("li", `${where}drift in ${arm.alarmed.join(", ")}${explained(arm.explanation)}`, "failed");
    return make("li", `${where}${arm.windows} windows, no alarm`);
  }));
  return titled("Drift", lines);
}

function explained(found) {
  const features = Object.entries(found?.features ?? {}).map(([name, weight]) => `${name} ${share(weight)}`);
  return features.length ? `; its rows differ from normal ones in ${features.join(", ")}` : "";
}

function performances(found) {
  const lines = (found?.versions ?? []).flatMap((version) => version.arms.map((arm) => {
    const metrics = Object.entries(arm.metrics).filter(([, each]) => each.value !== null)
      .map(([name, each]) => `${name} ${each.value.toFixed(3)} (${each.low?.toFixed(3)} to ${each.high?.toFixed(3)})`);
    const labelled = `${share(arm.labelled_share)} labelled`;
    const estimated = typeof arm.estimate?.drop === "number" ? [`estimated without labels: drop ${share(arm.estimate.drop)}`] : [];
    const changed = arm.adwin?.changes ? [`ADWIN saw a change ${arm.adwin.labels_since} labels ago`] : [];
    const words = [labelled, ...metrics, ...estimated, ...changed].join(", ");
    return make("li", `version ${version.version}, ${arm.arm}: ${words}`, arm.severity === "ok" ? "" : "failed");
  }));
  return titled("Labels", lines);
}

function history(policy, found, done) {
  const revisions = (found?.revisions ?? []).slice(-REVISIONS_SHOWN).reverse();
  const lines = revisions.map((each) => {
    const variants = each.variants.map((variant) => `${variant.name} v${variant.version} ${percent(variant.weight)}`).join(", ");
    const line = make("li", `${each.revision} · ${when(each.at)} · ${each.actor} · ${variants} · ${each.reason} `);
    if (each.revision !== policy.revision) {
      line.append(button("Restore", async () => (await restore(policy, each.revision)) && done(), "small"));
    }
    return line;
  });
  return titled("History", lines);
}
