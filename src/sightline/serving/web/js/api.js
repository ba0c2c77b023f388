// The one place that talks to the service.
const KEY = "sightline-key";

export class ApiError extends Error {
  constructor(message, { status = 0, code = "", retryAfter = null, requestId = null } = {}) {
    super(message);
    Object.assign(this, { status, code, retryAfter, requestId });
  }
  get offline() {
    return this.status === 0;
  }
  get busy() {
    return this.status === 429 || this.status === 503;
  }
}

export const hasKey = () => sessionStorage.getItem(KEY) !== null;

let askForKey = null;
let asking = null;

/** What to do when the service wants a key: a function (wrong before?) -> promise of a key. */
export function onKeyWanted(ask) {
  askForKey = ask;
}

/** JSON from the service; asks for a key where one is wanted. */
export async function call(path, { body, signal, params } = {}) {
  const response = await send(path, { body, signal, params });
  return response.status === 204 ? null : response.json();
}

/** A file of the service, such as a page image. */
export async function file(path, { signal } = {}) {
  return (await send(path, { signal })).blob();
}

/** Shows an image of the service; with a key it has to be fetched, as an <img> cannot send one. */
export async function showImage(image, path, { signal } = {}) {
  if (!hasKey()) {
    image.src = path;
    return;
  }
  const address = URL.createObjectURL(await file(path, { signal }));
  image.addEventListener("load", () => URL.revokeObjectURL(address), { once: true });
  image.src = address;
}

async function send(path, { body, signal, params } = {}) {
  const query = params ? `?${new URLSearchParams(Object.entries(params).filter(([, value]) => value != null))}` : "";
  for (;;) {
    const response = await reach(path + query, body, signal);
    if (response.ok) return response;
    if (response.status === 401 && askForKey) {
      const had = hasKey();
      await response.body?.cancel(); // else the browser keeps the connection
      // Many requests may fail at once; a person is asked once.
      asking ??= askForKey(had).finally(() => (asking = null));
      sessionStorage.setItem(KEY, await asking);
      continue;
    }
    throw await told(response);
  }
}

async function reach(path, body, signal) {
  const key = sessionStorage.getItem(KEY);
  const headers = key ? { authorization: `Bearer ${key}` } : {};
  if (body !== undefined) headers["content-type"] = "application/json";
  try {
    return await fetch(path, {
      method: body === undefined ? "GET" : "POST",
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      signal,
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError("The service cannot be reached.");
  }
}

async function told(response) {
  const facts = { status: response.status, requestId: response.headers.get("x-request-id") };
  const after = Number(response.headers.get("retry-after"));
  if (after > 0) facts.retryAfter = after;
  let message = `The service answered with status ${response.status}.`;
  try {
    const { error } = await response.json();
    message = error.message ?? message;
    facts.code = error.code ?? "";
    facts.requestId = error.request_id ?? facts.requestId;
  } catch {
    // Not ours: a proxy's page. The status says enough.
  }
  return new ApiError(message, facts);
}
