// The login of the page.
"use strict";
const $ = id => document.getElementById(id);

const RESUME_INTERVAL = 10000;

async function submit(text) {
  $("sign-in").disabled = true;
  $("reason").textContent = "";
  try {
    await signIn(text);
    location.reload();
  } catch (error) {
    $("reason").textContent = error.name === "Error" ? error.message : "the relay does not answer; try again";
    $("sign-in").disabled = false;
    $("token").focus();
  }
}

$("login").onsubmit = event => {
  event.preventDefault();
  submit($("token").value);
};

// A browser that follows a link on another site's page sends no cookie with the page itself, but it does with the page's own
// requests. Once in some seconds, so that two answers that differ make no loop.
async function resume() {
  const answer = await fetch(new URL("api/cameras", location.href), { cache: "no-store" });
  const last = Number(sessionStorage.getItem("sightline.resumed"));
  if (!answer.ok || Date.now() - last < RESUME_INTERVAL) return;
  sessionStorage.setItem("sightline.resumed", String(Date.now()));
  location.replace(location.pathname + location.search);
}

function openLink() {
  const token = takeToken();
  if (token) submit(token);
  return Boolean(token);
}
addEventListener("hashchange", openLink);
if (!openLink()) resume().catch(() => {});
