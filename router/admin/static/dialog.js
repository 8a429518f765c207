// The one dialog: fields, what the act would do, a reason, and the gateway's own words when it refuses.

import { at } from "./elements.js";

const PATIENCE_MS = 250;
let asked = 0; // of the newest question for foresight: older answers are thrown away

/**
 * Ask for an act and carry it out.
 *
 * `collect()` reads the fields and throws an Error to say what is missing; `foresee(values)` resolves to words about
 * what would happen; `carryOut(values, reason)` does it. Resolves to true once done, to false when left.
 */
export function confirm({ title, fields = [], verb, foresee, collect = () => ({}), carryOut }) {
  const dialog = at("dialog");
  const [form, go, foresight, refusal] = [dialog.querySelector("form"), at("dialog-do"), at("dialog-foresight"), at("dialog-refusal")];
  at("dialog-title").textContent = title;
  at("dialog-fields").replaceChildren(...fields);
  at("dialog-reason").value = "";
  go.textContent = verb;
  foresight.textContent = refusal.textContent = "";

  async function look() {
    const mine = ++asked;
    let words = "";
    try {
      words = foresee ? await foresee(collect()) : "";
    } catch (error) {
      words = error.message;
    }
    if (mine === asked) foresight.textContent = words;
  }
  let waiting;
  const onInput = (event) => {
    if (event.target.id === "dialog-reason") return;
    clearTimeout(waiting);
    waiting = setTimeout(look, PATIENCE_MS);
  };

  return new Promise((resolve) => {
    const close = (done) => {
      clearTimeout(waiting);
      asked++;
      form.removeEventListener("submit", onSubmit);
      at("dialog-fields").removeEventListener("input", onInput);
      at("dialog-cancel").removeEventListener("click", onLeave);
      dialog.removeEventListener("cancel", onLeave);
      dialog.close();
      resolve(done);
    };
    const onLeave = (event) => {
      event.preventDefault();
      close(false);
    };
    const onSubmit = async (event) => {
      event.preventDefault();
      refusal.textContent = "";
      go.disabled = true;
      try {
        await carryOut(collect(), at("dialog-reason").value.trim());
        close(true);
      } catch (error) {
        refusal.textContent = error.message;
      } finally {
        go.disabled = false;
      }
    };
    form.addEventListener("submit", onSubmit);
    at("dialog-fields").addEventListener("input", onInput);
    at("dialog-cancel").addEventListener("click", onLeave);
    dialog.addEventListener("cancel", onLeave);
    dialog.showModal();
    look();
  });
}
