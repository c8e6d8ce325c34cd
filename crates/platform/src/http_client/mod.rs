//! A relay by HTTP, for a sender or a viewer that no UDP leads to it: a WebSocket, and JSON by GET.
//!
//! A server is a relay if its answers have the header `sightline`: another one may answer at the port that is tried.

mod blocked;
mod check;
mod socket;

use std::time::Duration;

use anyhow::Context as _;
use protocol::http::{COOKIE, ErrorBody, SIGHTLINE};
use protocol::label::CameraName;
use protocol::quic::{MAX_CAMERAS, Refusal};
use protocol::text::printable;
use reqwest::header::{
    CONNECTION, HeaderMap, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode, redirect};
use serde::Deserialize;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

pub use self::blocked::{UDP_BLOCKED_AFTER, UdpSilence};
pub use self::check::check;
pub use self::socket::{HttpMessage, HttpReader, HttpSession, HttpWriter};
use crate::server::{RelayUrl, Server};

/// Longest wait for a TCP connection and TLS.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Longest wait for an answer, the connection included.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(6);
/// Most bytes of an answer that is read: 64 cameras take a fifth of it.
const MAX_ANSWER: usize = 64 << 10;
/// Longest text of a server that is shown.
const MAX_SHOWN: usize = 200;

/// Why a relay cannot be used by HTTP.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HttpFailure {
    /// No answer, with the reason.
    #[error("{0}")]
    NoAnswer(String),
    /// An answer of another server.
    #[error(
        "what answers there is not a Sightline relay, or one without HTTP publishing (before 0.2)"
    )]
    NotARelay,
    /// A refusal by the relay.
    #[error("{0}")]
    Refused(Refusal),
    /// Another error of the relay.
    #[error("the relay answers: {0}")]
    Error(String),
    /// The end of a connection.
    #[error("the connection has ended: {0}")]
    Ended(String),
}

/// Connects to a relay by HTTP.
#[derive(Debug, Clone)]
pub struct HttpClient {
    client: Client,
    urls: Vec<RelayUrl>,
    /// Index of the URL that answered last.
    last: usize,
}

/// A camera at a relay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedCamera {
    /// Its name.
    pub name: CameraName,
    /// Whether its frames come.
    pub live: bool,
}

impl HttpClient {
    /// Returns a client for the URLs at which a relay may be found: the one that `--server` names, else those of its host.
    ///
    /// # Errors
    /// If the system's certificates cannot be read.
    pub fn new(server: &Server) -> anyhow::Result<Self> {
        // A second call finds the first one's.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .redirect(redirect::Policy::none())
            .pool_max_idle_per_host(0);
        Ok(Self {
            client: client.build().context("preparing HTTP")?,
            urls: server.http_urls(),
            last: 0,
        })
    }

    /// Returns the URLs that are tried, the one that answered last first.
    pub fn urls(&self) -> impl Iterator<Item = &RelayUrl> {
        let (before, from) = self.urls.split_at(self.last);
        from.iter().chain(before)
    }

    /// Returns what a relay needs to answer at these URLs.
    pub fn needs(&self) -> &'static str {
        match self.urls.iter().all(|url| url.tls) {
            true => "a proxy with TLS",
            false => "--http 0.0.0.0:8080 or a proxy with TLS",
        }
    }

    /// Opens a WebSocket of the first relay that answers. `path` begins with `/`; the headers are text.
    ///
    /// # Errors
    /// That of the relay, or why there is none: the reason of each URL.
    pub async fn open(
        &mut self,
        path: &str,
        headers: &[(&'static str, String)],
    ) -> Result<HttpSession, HttpFailure> {
        let mut reasons = Vec::new();
        for index in 0..self.urls.len() {
            let index = (self.last + index) % self.urls.len();
            let url = self.urls[index].clone();
            match self.open_at(&url, path, headers).await {
                Err(failure @ (HttpFailure::NoAnswer(_) | HttpFailure::NotARelay)) => {
                    reasons.push(format!("{url}: {failure}"));
                }
                Ok(session) => {
                    self.last = index;
                    return Ok(session);
                }
                Err(failure) => return Err(failure),
            }
        }
        Err(HttpFailure::NoAnswer(reasons.join("; ")))
    }

    async fn open_at(
        &self,
        url: &RelayUrl,
        path: &str,
        headers: &[(&'static str, String)],
    ) -> Result<HttpSession, HttpFailure> {
        let key = generate_key();
        let mut request = self
            .request(url, path)
            .header(CONNECTION, "Upgrade")
            .header(UPGRADE, "websocket")
            .header(SEC_WEBSOCKET_VERSION, "13")
            .header(SEC_WEBSOCKET_KEY, &key);
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let response = send(request).await?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(error_of(response).await);
        }
        let accept = text(response.headers(), SEC_WEBSOCKET_ACCEPT.as_str());
        if accept != Some(derive_accept_key(key.as_bytes())) {
            return Err(HttpFailure::NotARelay);
        }
        let cookie = text(response.headers(), COOKIE);
        let upgraded = timeout(ANSWER_TIMEOUT, response.upgrade()).await;
        let stream = match upgraded {
            Ok(Ok(stream)) => stream,
            Ok(Err(why)) => return Err(HttpFailure::NoAnswer(cause(&why))),
            Err(_) => return Err(no_answer_in_time()),
        };
        Ok(HttpSession::new(url.clone(), stream, cookie).await)
    }

    /// Returns the cameras of the first relay that answers.
    ///
    /// # Errors
    /// As [`HttpClient::open`].
    pub async fn cameras(&mut self) -> Result<Vec<ListedCamera>, HttpFailure> {
        let mut reasons = Vec::new();
        for index in 0..self.urls.len() {
            let index = (self.last + index) % self.urls.len();
            match self.get(&self.urls[index], "/api/cameras").await {
                Ok(answer) => {
                    self.last = index;
                    return parse_cameras(&answer).ok_or(HttpFailure::NotARelay);
                }
                Err(failure @ (HttpFailure::NoAnswer(_) | HttpFailure::NotARelay)) => {
                    reasons.push(format!("{}: {failure}", self.urls[index]));
                }
                Err(failure) => return Err(failure),
            }
        }
        Err(HttpFailure::NoAnswer(reasons.join("; ")))
    }

    /// Returns a relay's answer to a GET.
    async fn get(&self, url: &RelayUrl, path: &str) -> Result<Vec<u8>, HttpFailure> {
        let response = send(self.request(url, path)).await?;
        match response.status().is_success() {
            true => read(response).await,
            false => Err(error_of(response).await),
        }
    }

    fn request(&self, url: &RelayUrl, path: &str) -> RequestBuilder {
        let request = self.client.request(Method::GET, format!("{url}{path}"));
        match url.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }
}

/// Returns the path of a camera's address.
pub fn camera_path(camera: &CameraName, what: &str) -> String {
    // A name holds letters, digits, spaces, '-', '_' and '.' alone.
    let bytes = camera.as_str().bytes();
    let name: String = bytes
        .map(|byte| match byte {
            b'-' | b'_' | b'.' => char::from(byte).to_string(),
            byte if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
            byte => format!("%{byte:02X}"),
        })
        .collect();
    format!("/cam/{name}/{what}")
}

/// Sends a request; the answer is a relay's.
async fn send(request: RequestBuilder) -> Result<Response, HttpFailure> {
    let response = match timeout(ANSWER_TIMEOUT, request.send()).await {
        Ok(Ok(response)) => response,
        Ok(Err(why)) => return Err(HttpFailure::NoAnswer(cause(&why))),
        Err(_) => return Err(no_answer_in_time()),
    };
    match response.headers().contains_key(SIGHTLINE) {
        true => Ok(response),
        false => Err(HttpFailure::NotARelay),
    }
}

fn no_answer_in_time() -> HttpFailure {
    HttpFailure::NoAnswer(format!("no answer within {} s", ANSWER_TIMEOUT.as_secs()))
}

/// Returns the innermost cause of an error, without the URL that the outer ones show.
fn cause(error: &reqwest::Error) -> String {
    let mut innermost: &dyn std::error::Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    match error.is_timeout() {
        true => "no answer in time".to_owned(),
        false => printable(&innermost.to_string(), MAX_SHOWN),
    }
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    Some(headers.get(name)?.to_str().ok()?.to_owned())
}

async fn error_of(response: Response) -> HttpFailure {
    let status = response.status();
    let Ok(body) = read(response).await else {
        return HttpFailure::Error(status.to_string());
    };
    if let Ok(error) = serde_json::from_slice::<ErrorBody>(&body) {
        return match error.refusal() {
            Some(refusal) => HttpFailure::Refused(refusal),
            None => HttpFailure::Error(printable(&error.message, MAX_SHOWN)),
        };
    }
    match status {
        StatusCode::UNAUTHORIZED => HttpFailure::Refused(Refusal::Private),
        StatusCode::FORBIDDEN => HttpFailure::Refused(Refusal::Role),
        _ => {
            let text = String::from_utf8_lossy(&body);
            HttpFailure::Error(printable(text.trim(), MAX_SHOWN))
        }
    }
}

async fn read(mut response: Response) -> Result<Vec<u8>, HttpFailure> {
    let whole = async {
        let mut body = Vec::new();
        while let Some(chunk) = response
            .chunk()
            .await
            .map_err(|why| HttpFailure::NoAnswer(cause(&why)))?
        {
            if body.len() + chunk.len() > MAX_ANSWER {
                return Err(HttpFailure::NotARelay);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    };
    timeout(ANSWER_TIMEOUT, whole)
        .await
        .unwrap_or_else(|_| Err(no_answer_in_time()))
}

/// Returns the cameras of a relay's list; `None` if it is not one.
fn parse_cameras(json: &[u8]) -> Option<Vec<ListedCamera>> {
    #[derive(Deserialize)]
    struct Entry {
        name: String,
        live: bool,
    }
    let entries: Vec<Entry> = serde_json::from_slice(json).ok()?;
    let cameras = entries.into_iter().filter_map(|entry| {
        let name = entry.name.parse().ok()?;
        let live = entry.live;
        Some(ListedCamera { name, live })
    });
    Some(cameras.take(MAX_CAMERAS).collect())
}

#[cfg(test)]
mod tests;
