// Moving traffic by hand: weights, new variants, shadows, and the ways back.

import { choice, field, hold, make, button, percent, share } from "./elements.js";
import { act, createPolicy, patchPolicy } from "./gateway.js";
import { confirm } from "./dialog.js";

const WHOLE = 10_000; // basis points

const basisPoints = (input) => Math.round(Number(input.value) * 100);

/** Change who gets how much; `versions` are the numbers that the registry has. */
export function moveTraffic(policy, versions) {
  const list = make("div");
  const lines = policy.variants.map((variant) => line(list, variant));
  const [nameField, name] = field("New variant", { placeholder: "canary", size: 10 });
  const [versionField, version] = choice("version", versions.map((number) => [number, number]), versions.at(-1));
  const add = button("Add", () => {
    if (!name.value.trim()) return name.focus();
    lines.push(line(list, { name: name.value.trim(), version: Number(version.value), weight: 0 }));
    name.value = "";
    list.dispatchEvent(new Event("input", { bubbles: true }));
  });

  function collect() {
    const variants = lines.map(({ variant, input }) => ({ ...variant, weight: basisPoints(input) }));
    const sum = variants.reduce((total, { weight }) => total + weight, 0);
    if (sum !== WHOLE) throw new Error(`The shares add up to ${percent(sum)}, not 100 %.`);
    return { variants };
  }
  return confirm({
    title: `Move traffic of ${policy.model}`,
    fields: [list, hold("p", "inline", nameField, versionField, add)],
    verb: "Move traffic",
    collect,
    foresee: async (patch) => impactWords((await patchPolicy(policy, { ...patch, reason: "look" }, { dryRun: true })).impact),
    carryOut: (patch, reason) => patchPolicy(policy, { ...patch, reason }),
  });
}

/** Give a model that has no policy all of its traffic to one version. */
export function giveTraffic(model, versions) {
  const [versionField, version] = choice("Version", versions.map((number) => [number, number]), versions.at(-1));
  const collect = () => ({ variants: [{ name: "stable", version: Number(version.value), weight: WHOLE }] });
  return confirm({
    title: `First traffic of ${model}`,
    fields: [versionField],
    verb: "Send traffic",
    collect,
    foresee: async (policy) => impactWords((await createPolicy(model, { ...policy, reason: "look" }, { dryRun: true })).impact),
    carryOut: (policy, reason) => createPolicy(model, { ...policy, reason }),
  });
}

function line(list, variant) {
  const [label, input] = field(`${variant.name}, version ${variant.version}`, {
    type: "number", min: 0, max: 100, step: 0.01, required: true, value: String(variant.weight / 100),
  });
  list.append(hold("p", "inline weight", label, "%"));
  return { variant, input };
}

/** Say what a change would do, from the answer of a dry run. */
export function impactWords(impact) {
  const parts = [`${share(impact.moved_share)} of the keys would get another version`];
  if (impact.versions_to_load.length) parts.push(`version ${impact.versions_to_load.join(", ")} would be loaded first`);
  if (impact.versions_no_longer_named.length) parts.push(`version ${impact.versions_no_longer_named.join(", ")} would no longer be used`);
  return `${parts.join("; ")}.`;
}

/** Let a version see copies of requests. */
export function addShadow(policy, versions) {
  const others = versions.filter((number) => !policy.variants.some((variant) => variant.version === number));
  const [versionField, version] = choice("Version", (others.length ? others : versions).map((number) => [number, number]));
  const [sampleField, sample] = field("Copies of", { type: "number", min: 0.01, max: 100, step: 0.01, value: "10", required: true });
  const collect = () => {
    const kept = (policy.shadows ?? []).filter((shadow) => shadow.version !== Number(version.value));
    return { shadows: [...kept, { version: Number(version.value), sample: basisPoints(sample) }] };
  };
  return confirm({
    title: `Shadow of ${policy.model}`,
    fields: [hold("p", "inline", versionField, sampleField, "% of the requests")],
    verb: "Add shadow",
    collect,
    foresee: async (patch) => impactWords((await patchPolicy(policy, { ...patch, reason: "look" }, { dryRun: true })).impact),
    carryOut: (patch, reason) => patchPolicy(policy, { ...patch, reason }),
  });
}

export function removeShadow(policy, version) {
  const shadows = policy.shadows.filter((shadow) => shadow.version !== version);
  return confirm({
    title: `Remove shadow version ${version} of ${policy.model}`,
    verb: "Remove shadow",
    carryOut: (_, reason) => patchPolicy(policy, { shadows, reason }),
  });
}

/** Back to the last good policy, at once. */
export function rollBack(policy) {
  const path = `/policies/${encodeURIComponent(policy.model)}/rollback`;
  return confirm({
    title: `Roll back ${policy.model}`,
    verb: "Roll back now",
    foresee: async () => {
      const there = await act(`${path}?dry_run=true`, { reason: "look" });
      const variants = (there.variants ?? []).map((variant) => `${variant.name} version ${variant.version} ${percent(variant.weight)}`);
      return variants.length ? `Restores ${variants.join(", ")}.` : "";
    },
    carryOut: (_, reason) => act(path, { reason }),
  });
}

/** Back to a revision of the history, as a new revision. */
export function restore(policy, revision) {
  return confirm({
    title: `${policy.model} as it was in revision ${revision}`,
    verb: "Restore",
    carryOut: (_, reason) => act(`/policies/${encodeURIComponent(policy.model)}/undo`, { revision, reason }),
  });
}
