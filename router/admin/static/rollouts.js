// A rollout under way: where it stands, why, and what an operator may do about it.

import { button, choice, field, hold, make, percent, when } from "./elements.js";
import { act } from "./gateway.js";
import { confirm } from "./dialog.js";

const OVER = new Set(["succeeded", "failed", "aborted", "superseded"]);
const MARK = { pass: "✓", fail: "✗", inconclusive: "…" };
const MOMENTS_SHOWN = 6;

export const isOver = (rollout) => OVER.has(rollout.phase);

/** Lay out a rollout; `done` is called after an act. */
export function panel(rollout, done) {
  const box = hold("div", "rollout", hold("p", "", make("strong", `Rollout of version ${rollout.version}`), " ",
    make("span", rollout.phase.replaceAll("_", " "), `phase ${rollout.phase}`), ` · ${rollout.words}`));
  box.append(steps(rollout));
  const findings = make("ul", "", "findings");
  for (const finding of rollout.findings) {
    const name = finding.check + (finding.dry_run ? " (dry run)" : "");
    findings.append(hold("li", finding.verdict, make("span", MARK[finding.verdict], "mark"), make("strong", name), ` ${finding.words}`));
  }
  box.append(findings, moments(rollout));
  if (!isOver(rollout)) box.append(acts(rollout, done));
  return box;
}

function steps(rollout) {
  const list = make("ol", "", "steps");
  const passed = rollout.phase === "baking" || rollout.phase === "succeeded";
  rollout.plan.steps.forEach((step, place) => {
    const state = passed || place < rollout.step ? "passed" : place === rollout.step ? "current" : "";
    list.append(make("li", percent(step), state));
  });
  return list;
}

function moments(rollout) {
  const list = make("ol", "", "moments quiet");
  for (const moment of rollout.moments.slice(-MOMENTS_SHOWN)) {
    list.append(make("li", `${new Date(moment.at * 1000).toLocaleTimeString()} ${moment.phase.replaceAll("_", " ")} at ${percent(moment.share_bp)}: ${moment.words}`));
  }
  return list;
}

function acts(rollout, done) {
  const path = `/rollouts/${encodeURIComponent(rollout.model)}`;
  const ask = (verb, ending, fields = {}) => async () => {
    const title = `${verb}: version ${rollout.version} of ${rollout.model}`;
    if (await confirm({ title, verb, carryOut: (_, reason) => act(`${path}/${ending}`, { ...fields, reason }) })) done();
  };
  const offered = {
    pause: () => [button("Pause", ask("Pause", "pause"))],
    resume: () => [button("Resume", ask("Resume", "resume"))],
    promote: () => [button("Next step", ask("Next step", "promote")), button("All traffic", ask("All traffic", "promote", { full: true }))],
    abort: () => [button("Abort", ask("Abort", "abort"), "danger")],
  };
  return hold("p", "acts", ...rollout.acts.flatMap((name) => offered[name]()));
}

/** Bring a version to the traffic step by step. */
export function startRollout(policy, versions) {
  const others = versions.filter((number) => !policy.variants.some((variant) => variant.version === number && variant.weight));
  const [versionField, version] = choice("Version", others.map((number) => [number, number]), others.at(-1));
  const [stepsField, stepsInput] = field("Steps, in %", { value: "1, 5, 25, 100", required: true });
  const [requestsField, requests] = field("Minimum requests per step", { type: "number", min: 1, value: "200", required: true });
  const [timeField, time] = field("Minimum seconds per step", { type: "number", min: 0, value: "60", required: true });
  const collect = () => {
    if (!version.value) throw new Error("There is no other version: register one first.");
    return {
      version: Number(version.value),
      steps: stepsInput.value.split(",").map((step) => Math.round(Number(step) * 100)),
      min_requests: Number(requests.value),
      min_time_s: Number(time.value),
    };
  };
  const path = `/rollouts/${encodeURIComponent(policy.model)}`;
  return confirm({
    title: `Roll out a version of ${policy.model}`,
    fields: [hold("p", "inline", versionField, stepsField), hold("p", "inline", requestsField, timeField)],
    verb: "Start rollout",
    collect,
    foresee: async (plan) => {
      const { shares } = await act(`${path}?dry_run=true`, { ...plan, reason: "look" });
      const first = shares[0];
      return `Starts with ${percent(first.canary)} for the version and a control arm of ${percent(first.control)}; a hard failure rolls back within seconds.`;
    },
    carryOut: (plan, reason) => act(path, { ...plan, reason }),
  });
}

export const endedWords = (rollout) => `${rollout.phase.replaceAll("_", " ")} ${when(rollout.ended_at ?? rollout.created_at)}: ${rollout.words}`;
