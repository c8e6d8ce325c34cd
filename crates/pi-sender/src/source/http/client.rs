//! Requests a camera's picture or stream, through redirects and requests for a login.

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use reqwest::header::{
    AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION, WWW_AUTHENTICATE,
};
use reqwest::{Client, RequestBuilder, Response, StatusCode, Url, redirect};
use tokio::time::timeout;
use tracing::debug;

use super::answer;
use super::login::{self, Challenge, Login};
use crate::source::camera_url::CameraUrl;

/// Longest wait for a connection: a camera on the other side of the world answers within a second.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Requests for one answer: redirects, and the camera's request for a login. Browsers follow 20 redirects; cameras send one.
const MAX_REQUESTS: usize = 8;
/// Largest piece of an answer without pictures that the error quotes.
const QUOTED: usize = 512;

/// A client of one URL.
#[derive(Debug)]
pub(super) struct CameraClient {
    /// The URL without its login.
    url: Url,
    /// Whether the URL's host may be a piece of a password.
    hides_host: bool,
    login: Option<Login>,
    /// The camera's last request for a login, which the next requests answer at once.
    challenge: Option<Challenge>,
    /// Checks certificates.
    checking: Option<Client>,
    /// Takes any certificate, for hosts that cannot have a signed one.
    trusting: Client,
    /// Longest wait for an answer.
    patience: Duration,
    /// Whether there was an answer, whose connection may be kept.
    had_answer: bool,
}

impl CameraClient {
    pub(super) fn new(camera: &CameraUrl<'_>, patience: Duration) -> anyhow::Result<Self> {
        let CameraUrl {
            scheme,
            login,
            host,
            rest,
            ..
        } = camera;
        ensure!(!host.is_empty(), "the URL names no host");
        let url = Url::parse(&format!("{scheme}://{host}{rest}")).context("the URL is wrong")?;
        // A second call finds the first one's.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Ok(Self {
            url,
            hides_host: camera.guessed,
            login: login.map(Login::decode),
            challenge: None,
            checking: None,
            trusting: client(true)?,
            patience,
            had_answer: false,
        })
    }

    /// Returns the answer that holds the content; the error is what the camera answered instead.
    pub(super) async fn request(&mut self) -> anyhow::Result<Response> {
        let mut url = self.url.clone();
        let mut answered = false;
        for _ in 0..MAX_REQUESTS {
            let response = self.send(&url).await?;
            let status = response.status();
            if status.is_redirection() && status != StatusCode::NOT_MODIFIED {
                let to = response.headers().get(LOCATION);
                let to = to.map(HeaderValue::as_bytes);
                url = answer::redirect(&url, to).map_err(anyhow::Error::msg)?;
            } else if status == StatusCode::UNAUTHORIZED {
                let challenge = self.next_challenge(&url, &response, answered)?;
                // Before the connection is used again: some cameras serve one client.
                drop(response);
                self.challenge = Some(challenge);
                answered = true;
            } else if status.is_success() {
                return Ok(response);
            } else {
                bail!(self.refusal(response).await);
            }
        }
        bail!("it redirects in a circle")
    }

    /// Sends a request. One that finds a kept connection closed is sent once more, at once: cameras close them behind each
    /// answer or after a while, and this end learns of it with its next request.
    async fn send(&mut self, url: &Url) -> anyhow::Result<Response> {
        let mut may_be_kept = self.had_answer;
        loop {
            let request = self.prepare(url)?;
            let Ok(sent) = timeout(self.patience, request.send()).await else {
                bail!(answer::no_answer(self.patience));
            };
            match sent {
                Ok(response) => {
                    self.had_answer = true;
                    return Ok(response);
                }
                Err(why) if may_be_kept && !why.is_connect() && !why.is_timeout() => {
                    debug!("the camera has closed the connection; the request is sent again");
                    may_be_kept = false;
                }
                Err(why) => return Err(self.network_error(url, why)),
            }
        }
    }

    /// Returns a request, with the login if the camera requested one.
    fn prepare(&mut self, url: &Url) -> anyhow::Result<RequestBuilder> {
        let mut request = self.client_for(url)?.get(url.clone());
        if let (Some(login), Some(challenge)) = (&self.login, &mut self.challenge)
            && answer::may_keep_login(&self.url, url)
        {
            let query = url
                .query()
                .map(|query| format!("?{query}"))
                .unwrap_or_default();
            let uri = format!("{}{query}", url.path());
            // As bytes, since it repeats the camera's realm.
            let answer = HeaderValue::from_bytes(challenge.answer(login, &uri)?.as_bytes())?;
            request = request.header(AUTHORIZATION, answer);
        }
        Ok(request)
    }

    /// Describes why no answer came, without the URL, which the client's own error would show.
    fn network_error(&self, url: &Url, why: reqwest::Error) -> anyhow::Error {
        if why.is_timeout() {
            return anyhow::Error::msg(answer::no_answer(CONNECT_TIMEOUT));
        }
        let is_own_host = url.host_str() == self.url.host_str();
        let host = match is_own_host && self.hides_host {
            true => "in the URL",
            false => url.host_str().unwrap_or_default(),
        };
        let why = format!("{:#}", anyhow::Error::new(why.without_url()));
        anyhow::Error::msg(answer::network_error(&why, host))
    }

    fn next_challenge(
        &self,
        url: &Url,
        response: &Response,
        answered: bool,
    ) -> anyhow::Result<Challenge> {
        ensure!(
            self.login.is_some(),
            "the camera requests a login: write it into the URL, as in http://USER:PASSWORD@HOST/.."
        );
        ensure!(
            answer::may_keep_login(&self.url, url),
            "it redirects to another host, which requests a login: name that host's own URL as --source"
        );
        ensure!(
            !answered,
            "the camera refuses the user or the password in the URL"
        );
        let offers = response.headers().get_all(WWW_AUTHENTICATE);
        // A realm may be in any encoding; a method that is dropped for that would leave basic, which shows the password.
        let offers: Vec<_> = offers
            .iter()
            .map(|offer| String::from_utf8_lossy(offer.as_bytes()))
            .collect();
        let chosen = Challenge::choose(offers.iter().map(|offer| offer.as_ref()));
        chosen.with_context(|| login::no_answer(offers.iter().map(|offer| offer.as_ref())))
    }

    /// Describes an answer with an error's status.
    async fn refusal(&self, mut response: Response) -> String {
        let mut head = Vec::new();
        let read = async {
            while head.len() < QUOTED
                && let Ok(Some(chunk)) = response.chunk().await
            {
                head.extend_from_slice(&chunk);
            }
        };
        // What has come in that time is enough for the error.
        let _ = timeout(self.patience, read).await;
        answer::describe(response.status(), content_type(&response), &head)
    }

    fn client_for(&mut self, url: &Url) -> anyhow::Result<&Client> {
        if url.scheme() != "https" || !answer::has_public_name(url) {
            return Ok(&self.trusting);
        }
        match &mut self.checking {
            Some(client) => Ok(client),
            none => Ok(none.insert(client(false)?)),
        }
    }
}

/// Returns the type that an answer's header names.
pub(super) fn content_type(response: &Response) -> Option<&str> {
    header(response, &CONTENT_TYPE)
}

fn header<'a>(response: &'a Response, name: &HeaderName) -> Option<&'a str> {
    response.headers().get(name)?.to_str().ok()
}

/// Returns a client as tolerant as browsers are, since cameras write their own HTTP.
fn client(takes_any_certificate: bool) -> anyhow::Result<Client> {
    Client::builder()
        .user_agent(concat!("Sightline/", env!("CARGO_PKG_VERSION")))
        .redirect(redirect::Policy::none())
        .connect_timeout(CONNECT_TIMEOUT)
        .tls_danger_accept_invalid_certs(takes_any_certificate)
        .http09_responses()
        .http1_ignore_invalid_headers_in_responses(true)
        .http1_allow_spaces_after_header_name_in_responses(true)
        .http1_allow_obsolete_multiline_headers_in_responses(true)
        .build()
        .map_err(reqwest::Error::without_url)
        .context("preparing HTTP: is the package ca-certificates installed?")
}
