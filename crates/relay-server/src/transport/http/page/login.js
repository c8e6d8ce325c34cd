// The login of the page.
"use strict";
const $ = id => document.getElementById(id);

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

function openLink() {
  const token = takeToken();
  if (token) submit(token);
}
addEventListener("hashchange", openLink);
openLink();
