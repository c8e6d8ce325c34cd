// Signing in and out. A ticket's link has the token behind "#", which browsers send to no server.
"use strict";

// Returns the token of a link that was opened, and removes it from the address bar; null if there is none. A token in the
// query, as links of version 0.1 have it, is removed too: the relay has read it.
function takeToken() {
  const url = new URL(location.href);
  const token = new URLSearchParams(url.hash.slice(1)).get("token");
  if (token) url.hash = "";
  url.searchParams.delete("token");
  if (token || location.search.includes("token=")) history.replaceState(null, "", url.pathname + url.search + url.hash);
  return token;
}

// Sends a token, ticket or link to the relay, which sets a cookie. Throws the reason why it does not.
async function signIn(text) {
  const answer = await post("login", text);
  if (!answer.ok) throw new Error((await answer.text()).trim().slice(0, 200));
}

const signOut = () => post("logout", "");

const post = (path, body) =>
  fetch(new URL(path, location.href), { method: "POST", body, cache: "no-store", signal: AbortSignal.timeout(8000) });
