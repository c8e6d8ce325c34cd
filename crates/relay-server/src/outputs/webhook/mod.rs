//! `--webhook URL`: posts each event, one after the other and each until it is delivered, refused or given up.

pub mod request;
pub mod template;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Client, Url, redirect};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use self::request::{HookRequest, Outcome, Requests, judge};
use super::hub::{EventQueue, LAST_CHANCE};
use super::retry::{Attempts, Backoff, Lost, OutputStats, random};
use super::unix_s;

/// The value of `--webhook`. It is shown nowhere: for many services the path is the password.
#[derive(Clone, PartialEq, Eq)]
pub struct WebhookUrl(Option<Url>);

/// Times of deliveries.
#[derive(Debug, Clone, Copy)]
pub struct WebhookTimes {
    /// Longest wait for an answer.
    pub patience: Duration,
    /// First waiting time after a failure.
    pub first: Duration,
    /// Longest one.
    pub longest: Duration,
    /// Attempts at one event.
    pub attempts: u32,
}

/// A delivery is given up after some six minutes at most, when a receiver that restarts is back.
impl Default for WebhookTimes {
    fn default() -> Self {
        Self {
            patience: Duration::from_secs(10),
            first: Duration::from_secs(1),
            longest: Duration::from_secs(60),
            attempts: 10,
        }
    }
}

/// Posts events.
#[derive(Debug)]
pub struct Webhook {
    url: Url,
    client: Client,
    requests: Requests,
    times: WebhookTimes,
}

impl WebhookUrl {
    /// Returns the URL.
    ///
    /// # Errors
    /// If it cannot be used, with the cure.
    pub fn url(&self) -> Result<&Url, &'static str> {
        self.0.as_ref().ok_or(
            "--webhook is a URL as in https://example.com/hook or http://nas:8123/api/webhook/ID",
        )
    }
}

impl FromStr for WebhookUrl {
    type Err = std::convert::Infallible;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        let url = Url::parse(s).ok();
        let usable = |url: &Url| matches!(url.scheme(), "http" | "https") && url.has_host();
        Ok(Self(url.filter(usable)))
    }
}

/// Shows the host alone.
impl fmt::Debug for WebhookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = self.0.as_ref().map(host);
        f.debug_tuple("WebhookUrl").field(&host).finish()
    }
}

/// Returns host and port of a URL, for the log.
pub fn host(url: &Url) -> String {
    let name = url.host_str().unwrap_or_default();
    let port = url.port_or_known_default().unwrap_or_default();
    format!("{name}:{port}")
}

impl Webhook {
    /// Returns a webhook that posts to `url`.
    ///
    /// # Errors
    /// If HTTPS cannot be prepared.
    pub fn new(url: Url, requests: Requests, times: WebhookTimes) -> anyhow::Result<Self> {
        // A second call finds the first one's.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder()
            .timeout(times.patience)
            .redirect(redirect::Policy::none())
            .user_agent(concat!("sightline/", env!("CARGO_PKG_VERSION")))
            .build()
            .context("preparing --webhook: is the package ca-certificates installed?")?;
        Ok(Self {
            url,
            client,
            requests,
            times,
        })
    }

    /// Posts the events of the queue until `stop`.
    pub async fn run(self, queue: EventQueue, stats: Arc<OutputStats>, stop: CancellationToken) {
        loop {
            let event = tokio::select! {
                () = stop.cancelled() => break,
                event = queue.pop() => event,
            };
            let Some(request) = self.requests.make(&event.message, unix_s()) else {
                continue;
            };
            tokio::select! {
                () = self.deliver(&request, &stats) => {}
                () = stopping(&stop) => {
                    stats.on_lost(Lost::Stopped, 1);
                    return;
                }
            }
        }
        let rest = async {
            while let Some(event) = queue.try_pop() {
                if let Some(request) = self.requests.make(&event.message, unix_s()) {
                    self.deliver(&request, &stats).await;
                }
            }
        };
        let _ = timeout(LAST_CHANCE, rest).await;
    }

    /// Posts a request until it is delivered, refused or given up.
    async fn deliver(&self, request: &HookRequest, stats: &OutputStats) {
        let backoff = Backoff::new(self.times.first, self.times.longest);
        let mut attempts = Attempts::new(self.times.attempts, backoff);
        let host = host(&self.url);
        let mut failures = 0;
        loop {
            let (required, why) = match self.post(request).await {
                Ok((status, outcome)) => match outcome {
                    Outcome::Delivered => {
                        if failures > 0 {
                            info!(%host, failures, "--webhook delivers again");
                        }
                        return stats.on_delivered();
                    }
                    Outcome::Refused(cure) => {
                        stats.on_lost(Lost::Refused, 1);
                        return warn!(%host, status, "--webhook refuses an event: {cure}");
                    }
                    Outcome::Retry(required) => (required, format!("it answers {status}")),
                },
                Err(why) => (None, why),
            };
            failures += 1;
            if failures == 1 {
                warn!(%host, "--webhook does not take an event, which is tried again: {why}");
            }
            let Some(delay) = attempts.after_failure(required, random()) else {
                stats.on_lost(Lost::GivenUp, 1);
                return warn!(%host, failures, "an event for --webhook is lost: {why}");
            };
            stats.on_retry();
            sleep(delay).await;
        }
    }

    /// Posts a request once. The error is why no answer came, without the URL.
    async fn post(&self, request: &HookRequest) -> Result<(u16, Outcome), String> {
        let mut post = self
            .client
            .post(self.url.clone())
            .header(CONTENT_TYPE, request.content_type)
            .header("x-sightline-event", request.kind)
            .body(request.body.clone());
        if let Some(signature) = &request.signature {
            post = post.header("x-sightline-signature", signature);
        }
        let answer = post.send().await.map_err(|why| match why.is_timeout() {
            true => format!("no answer within {} s", self.times.patience.as_secs()),
            false => format!("{:#}", anyhow::Error::new(why.without_url())),
        })?;
        let status = answer.status().as_u16();
        let retry_after = answer.headers().get(RETRY_AFTER);
        let retry_after = retry_after.and_then(|value| value.to_str().ok());
        Ok((status, judge(status, retry_after)))
    }
}

/// Waits for the stop, and then as long as the delivery under way may take.
async fn stopping(stop: &CancellationToken) {
    stop.cancelled().await;
    sleep(LAST_CHANCE).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_of_http_and_shows_its_host_alone() {
        let url = |text: &str| text.parse::<WebhookUrl>().unwrap();
        let discord = url("https://discord.com/api/webhooks/1/secret");
        assert_eq!(host(discord.url().unwrap()), "discord.com:443");
        assert!(!format!("{discord:?}").contains("secret"));
        for wrong in ["example.com/hook", "ftp://x/y", "https://", "mailto:a@b"] {
            assert!(
                url(wrong).url().unwrap_err().contains("https://"),
                "{wrong}"
            );
        }
    }
}
