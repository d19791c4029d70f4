// The sidecar's JSON API. The token lives in this tab only.

const TOKEN = "solvegate-token";
const WAIT_MS = 10_000;

export class Unauthorized extends Error {}

export const token = {
  get: () => sessionStorage.getItem(TOKEN) ?? "",
  set: (value) => sessionStorage.setItem(TOKEN, value),
  forget: () => sessionStorage.removeItem(TOKEN),
};

async function ask(path) {
  const headers = token.get() ? { Authorization: `Bearer ${token.get()}` } : {};
  const options = { headers, cache: "no-store", signal: AbortSignal.timeout(WAIT_MS) };
  let answer;
  try {
    answer = await fetch(path, options);
  } catch (error) {
    const slow = error.name === "TimeoutError";
    throw new Error(slow ? "no answer within 10 seconds" : "the sidecar cannot be reached");
  }
  if (answer.status === 401) throw new Unauthorized("the sidecar asks for its token");
  return answer;
}

/** One answer of `/api/v1`, parsed. */
export async function get(path, query = {}) {
  const given = Object.entries(query).filter(([, value]) => value !== "" && value != null);
  const search = given.length > 0 ? `?${new URLSearchParams(given)}` : "";
  const answer = await ask(`api/v1/${path}${search}`);
  if (answer.ok) return answer.json();
  const told = await answer.json().catch(() => ({}));
  throw new Error(told.message ?? `the sidecar answered ${answer.status}`);
}
