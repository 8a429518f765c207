// The admin API, as the page calls it. The token is this tab's: sessionStorage ends with it.

const TOKEN = "shepherd-token";

export const token = {
  get: () => sessionStorage.getItem(TOKEN),
  keep: (value) => sessionStorage.setItem(TOKEN, value),
  forget: () => sessionStorage.removeItem(TOKEN),
};

/** What the gateway answered instead: `status`, and its own words. */
export class Refused extends Error {
  constructor(status, problem) {
    super(problem.detail ?? problem.title ?? `the gateway answers ${status}`);
    this.status = status;
  }
}

async function call(method, path, body, headers = {}) {
  const sent = { Authorization: `Bearer ${token.get()}`, ...headers };
  if (body !== undefined) sent["Content-Type"] = "application/json";
  const answer = await fetch(`/admin/v1${path}`, { method, headers: sent, body: body && JSON.stringify(body) });
  const given = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Refused(answer.status, given);
  return given;
}

export const read = (path) => call("GET", path);
export const act = (path, body) => call("POST", path, body);
/** Change a policy that still is as it was shown: another writer's revision is not overwritten. */
export const patchPolicy = (policy, patch, { dryRun = false } = {}) =>
  call("PATCH", `/policies/${encodeURIComponent(policy.model)}${dryRun ? "?dry_run=true" : ""}`, patch, {
    "If-Match": `"${policy.revision}"`,
  });
/** Give a model its first policy; one that somebody else made meanwhile is not overwritten. */
export const createPolicy = (model, policy, { dryRun = false } = {}) =>
  call("PUT", `/policies/${encodeURIComponent(model)}${dryRun ? "?dry_run=true" : ""}`, policy, { "If-None-Match": "*" });
