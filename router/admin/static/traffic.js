// One card for each model: who gets how much, the rollout under way, and the acts that change it.

import { button, hold, make, percent, when } from "./elements.js";
import { addShadow, moveTraffic, removeShadow, rollBack } from "./moving.js";
import { endedWords, isOver, panel, startRollout } from "./rollouts.js";
import { details } from "./watching.js";

const TONES = 6;

/** A model's card. It is drawn anew only when what it shows has changed, so that a reader's place is kept. */
export class Card {
  constructor(done) {
    this._done = done;
    this._drawn = "";
    this._body = make("div");
    this._more = hold("details", "plain", make("summary", "Shadows, drift, labels, history"), make("div"));
    this._more.addEventListener("toggle", () => this._more.open && this._fill());
    this.element = hold("article", "", this._body, this._more);
  }

  /** Show a policy, the numbers of its model's versions, and its last rollout if there was one. */
  show(policy, versions, rollout) {
    const state = JSON.stringify([policy, versions, rollout]);
    if (state === this._drawn) return;
    const isOther = policy.revision !== this._policy?.revision;
    [this._policy, this._versions, this._rollout, this._drawn] = [policy, versions, rollout, state];
    this._draw();
    if (isOther && this._more.open) this._fill();
  }

  _draw() {
    const policy = this._policy;
    const bar = make("div", "", "bar");
    const legend = make("ul", "", "legend");
    policy.variants.forEach((variant, index) => {
      const part = make("span", "", `share tone-${index % TONES}`);
      part.style.flexGrow = variant.weight;
      part.title = `${variant.name}: ${percent(variant.weight)}`;
      if (variant.weight > 0) bar.append(part);
      legend.append(hold("li", "", make("span", "", `dot tone-${index % TONES}`), make("strong", variant.name),
        ` version ${variant.version} · ${percent(variant.weight)}`));
    });
    for (const shadow of policy.shadows ?? []) {
      const away = button("×", this._then(() => removeShadow(policy, shadow.version)), "small");
      away.title = away.ariaLabel = `Remove the shadow of version ${shadow.version}`;
      legend.append(hold("li", "quiet", `shadow: version ${shadow.version} · copies of ${percent(shadow.sample)} `, away));
    }
    const told = make("p", `Revision ${policy.revision} by ${policy.actor}, ${when(policy.at)}: ${policy.reason}`, "quiet");
    this._body.replaceChildren(make("h3", policy.model), bar, legend, told, ...this._rolloutParts(), this._acts());
  }

  _rolloutParts() {
    const rollout = this._rollout;
    if (!rollout) return [];
    if (isOver(rollout)) return [make("p", `Last rollout, version ${rollout.version}: ${endedWords(rollout)}`, "quiet")];
    return [panel(rollout, this._done)];
  }

  _acts() {
    const [policy, versions] = [this._policy, this._versions];
    const row = hold("p", "acts", button("Move traffic", this._then(() => moveTraffic(policy, versions))));
    if (!this._rollout || isOver(this._rollout)) {
      row.append(button("Start rollout", this._then(() => startRollout(policy, versions))));
    }
    row.append(button("Add shadow", this._then(() => addShadow(policy, versions))),
      button("Roll back", this._then(() => rollBack(policy)), "danger"));
    return row;
  }

  _then(ask) {
    return async () => (await ask()) && this._done();
  }

  async _fill() {
    const place = this._more.lastElementChild;
    try {
      const found = await details(this._policy, this._done);
      place.replaceChildren(...(found.length ? found : [make("p", "No data yet.", "quiet")]));
    } catch (error) {
      place.replaceChildren(make("p", `No answer: ${error.message}`, "failed"));
    }
  }
}
