//! The page and its login: HTML, style and scripts in one answer, so that a relay needs no files.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use protocol::quic::Refusal;

use super::origin_policy::Denial;
use super::request::{denied, text};

/// The placeholders of `page.html` and `login.html`, each with the file that takes its place.
const PARTS: [(&str, &str); 6] = [
    ("{style}", include_str!("page/page.css")),
    ("{session}", include_str!("page/session.js")),
    ("{boxes}", include_str!("page/boxes.js")),
    ("{script}", include_str!("page/page.js")),
    ("{controls}", include_str!("page/controls.js")),
    ("{login}", include_str!("page/login.js")),
];
/// The placeholder for the nonce of the page's own scripts and style.
const NONCE: &str = "{nonce}";
/// The placeholder for whether the browser is signed in.
const SIGNED_IN: &str = "{signed-in}";

/// Returns the page. Pages of this relay and of these origins may show it in a frame.
pub(super) fn response<'a>(framed_by: impl Iterator<Item = &'a str>, signed_in: bool) -> Response {
    let page = include_str!("page/page.html");
    assemble(&page.replace(SIGNED_IN, &signed_in.to_string()), framed_by)
}

/// Returns the page's login in answer to a request that was refused.
pub(super) fn login<'a>(framed_by: impl Iterator<Item = &'a str>, refusal: Refusal) -> Response {
    let (mut refused, _) = denied(Denial::Token(refusal)).into_parts();
    let (form, body) = assemble(include_str!("page/login.html"), framed_by).into_parts();
    refused.headers.extend(form.headers);
    Response::from_parts(refused, body)
}

/// Puts scripts and style into a page. Its policy permits these, and requests to this relay alone.
fn assemble<'a>(page: &str, framed_by: impl Iterator<Item = &'a str>) -> Response {
    let Ok(nonce) = getrandom::u64() else {
        return text(StatusCode::INTERNAL_SERVER_ERROR, "no random numbers");
    };
    let nonce = format!("{nonce:016x}");
    let framed_by: String = framed_by.map(|origin| format!(" {origin}")).collect();
    let policy = format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; img-src 'self' blob: data:; \
         connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'{framed_by}"
    );
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8".to_owned()),
        (header::CONTENT_SECURITY_POLICY, policy),
    ];
    let page = page.replace(NONCE, &nonce);
    let page = PARTS.iter().fold(page, |page, (placeholder, file)| {
        page.replace(placeholder, file)
    });
    (headers, page).into_response()
}
