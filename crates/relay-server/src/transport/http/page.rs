//! The page: HTML, style and scripts in one answer, so that a relay needs no files.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};

use super::request::text;

/// The placeholders of `page.html`, each with the file that takes its place.
const PARTS: [(&str, &str); 4] = [
    ("{style}", include_str!("page/page.css")),
    ("{boxes}", include_str!("page/boxes.js")),
    ("{script}", include_str!("page/page.js")),
    ("{controls}", include_str!("page/controls.js")),
];
/// The placeholder for the nonce of the page's own scripts and style.
const NONCE: &str = "{nonce}";

/// Returns the page. Its policy permits its own scripts and style, and requests to this relay alone. Pages of this relay and
/// of these origins may show it in a frame.
pub(super) fn response<'a>(framed_by: impl Iterator<Item = &'a str>) -> Response {
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
    let page = include_str!("page/page.html").replace(NONCE, &nonce);
    let page = PARTS.iter().fold(page, |page, (placeholder, file)| {
        page.replace(placeholder, file)
    });
    (headers, page).into_response()
}
