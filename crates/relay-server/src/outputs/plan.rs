//! From the command line to the outputs of events.

use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::str::FromStr;

use anyhow::{Context as _, ensure};
use reqwest::Url;
use tokio_util::sync::CancellationToken;

use super::hook::{self, HookTimes};
use super::hub::{Hub, Output};
use super::mqtt::broker::Broker;
use super::mqtt::connection::Login;
use super::mqtt::{self, MqttSettings};
use super::picture_url::{PictureSigner, PictureUrls};
use super::secret_file;
use super::webhook::request::{Requests, Secret};
use super::webhook::template::{MAX_TEMPLATE, Template};
use super::webhook::{Webhook, WebhookTimes};
use crate::access::Access;
use crate::args::Args;
use crate::handle::RelayHandle;

/// `--http-url`: the address at which others reach the HTTP server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpUrl(String);

impl FromStr for HttpUrl {
    type Err = &'static str;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        let url = Url::parse(s).ok();
        let usable = |url: &Url| {
            let http = matches!(url.scheme(), "http" | "https") && url.has_host();
            http && url.query().is_none() && url.fragment().is_none() && url.username().is_empty()
        };
        let url = url
            .filter(usable)
            .ok_or("a URL as in https://cam.example")?;
        Ok(Self(url.as_str().trim_end_matches('/').to_owned()))
    }
}

impl fmt::Display for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Starts the outputs that the flags name; `None` if they name none.
///
/// # Errors
/// If a file cannot be used, or TLS cannot be prepared.
pub fn start(
    args: &Args,
    state: Option<&Path>,
    access: &Access,
    relay: &RelayHandle,
) -> anyhow::Result<Option<Hub>> {
    let stop = CancellationToken::new();
    let urls = urls(args, access);
    let mut outputs = Vec::new();
    if let Some(login) = login(args, &client_id(access))? {
        let settings = MqttSettings {
            login,
            state: state.map(Path::to_owned),
            backoff: mqtt::backoff(),
        };
        let relay = relay.clone();
        let output = Output::new("mqtt", &stop, |queue, stats, stop| {
            mqtt::run(settings, relay, queue, stats, stop)
        });
        outputs.push(output.with_pictures());
    }
    if let Some(webhook) = webhook(args, urls.clone())? {
        outputs.push(Output::new("webhook", &stop, |queue, stats, stop| {
            webhook.run(queue, stats, stop)
        }));
    }
    if let Some(command) = args.on_event.clone() {
        outputs.push(Output::new("on_event", &stop, |queue, stats, stop| {
            hook::run(command, urls, HookTimes::default(), queue, stats, stop)
        }));
    }
    match outputs.is_empty() {
        true => Ok(None),
        false => Hub::start(outputs, stop).map(Some),
    }
}

/// Checks that the flags of the outputs go together.
///
/// # Errors
/// If they do not, with a sentence for the user.
pub fn check(args: &Args) -> Result<(), String> {
    let broker = args
        .mqtt
        .as_ref()
        .map(|mqtt| mqtt.broker().map_err(|why| why.to_string()));
    let broker = broker.transpose()?;
    if let Some(webhook) = &args.webhook {
        webhook.url()?;
    }
    let password = args.mqtt_password_file.is_some();
    for (given, of, flag, wanted) in [
        (password, broker.is_some(), "--mqtt-password-file", "--mqtt"),
        (
            args.webhook_secret_file.is_some(),
            args.webhook.is_some(),
            "--webhook-secret-file",
            "--webhook",
        ),
        (
            args.webhook_template.is_some(),
            args.webhook.is_some(),
            "--webhook-template",
            "--webhook",
        ),
    ] {
        if given && !of {
            return Err(format!("{flag} has no effect without {wanted}"));
        }
    }
    let user = |broker: &Broker| broker.user.is_some();
    if password && !broker.is_some_and(user) {
        return Err(
            "--mqtt-password-file needs a user in the URL of --mqtt, as in mqtt://USER@HOST"
                .to_owned(),
        );
    }
    Ok(())
}

/// Returns the client id of a relay: its own after each start, within the 23 letters that every broker takes.
fn client_id(access: &Access) -> String {
    let fingerprint = access.identity.fingerprint().to_string();
    format!("sightline-{}", &fingerprint[..8])
}

/// Returns what connections to the broker need; `None` without one.
///
/// # Errors
/// If the password cannot be read, or TLS cannot be prepared.
pub(crate) fn login(args: &Args, client_id: &str) -> anyhow::Result<Option<Login>> {
    let Some(broker) = args.mqtt.as_ref().and_then(|mqtt| mqtt.broker().ok()) else {
        return Ok(None);
    };
    let password = args.mqtt_password_file.as_deref();
    let password = secret_file::read("--mqtt-password-file", password, "mqtt-password")?;
    Login::new(broker.clone(), client_id.to_owned(), password).map(Some)
}

/// Returns the webhook; `None` without one.
///
/// # Errors
/// If a file cannot be used, or HTTPS cannot be prepared.
fn webhook(args: &Args, urls: PictureUrls) -> anyhow::Result<Option<Webhook>> {
    let Some(url) = args.webhook.as_ref().and_then(|webhook| webhook.url().ok()) else {
        return Ok(None);
    };
    let secret = args.webhook_secret_file.as_deref();
    let secret = secret_file::read("--webhook-secret-file", secret, "webhook-secret")?;
    let template = args.webhook_template.as_deref().map(template).transpose()?;
    let requests = Requests {
        urls,
        secret: secret.map(|secret| Secret::new(&secret)),
        template,
    };
    Webhook::new(url.clone(), requests, WebhookTimes::default()).map(Some)
}

/// Reads a template.
///
/// # Errors
/// If the file cannot be read or parsed.
pub(crate) fn template(path: &Path) -> anyhow::Result<Template> {
    let flag = || format!("--webhook-template {}", path.display());
    let read = || {
        let mut text = String::new();
        let file = File::open(path)?;
        file.take(MAX_TEMPLATE as u64 + 1)
            .read_to_string(&mut text)?;
        ensure!(
            text.len() <= MAX_TEMPLATE,
            "it has more than {MAX_TEMPLATE} bytes"
        );
        Ok(Template::parse(&text)?)
    };
    read().with_context(flag)
}

fn urls(args: &Args, access: &Access) -> PictureUrls {
    let base = args.http_url.as_ref().map(ToString::to_string);
    PictureUrls::new(base.as_deref(), signer(access))
}

/// Returns what signs the URLs of pictures; `None` on an open relay.
pub(crate) fn signer(access: &Access) -> Option<PictureSigner> {
    let secret = access.identity.picture_secret();
    access.is_private().then(|| PictureSigner::new(&secret))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    fn checked(flags: &[&str]) -> Result<(), String> {
        check(&Args::parse_from(["relay-server"].iter().chain(flags)))
    }

    #[test]
    fn flags_that_have_no_effect_or_cannot_work_are_named_with_the_cure() {
        for (flags, wanted) in [
            (&["--mqtt-password-file", "x"][..], "without --mqtt"),
            (&["--webhook-secret-file", "x"], "without --webhook"),
            (&["--webhook-template", "x"], "without --webhook"),
            (
                &["--mqtt", "mqtt://b", "--mqtt-password-file", "x"],
                "mqtt://USER@HOST",
            ),
            (&["--mqtt", "mqtt://u:topsecret@b"], "--mqtt-password-file"),
            (&["--webhook", "topsecret"], "https://"),
        ] {
            let why = checked(flags).unwrap_err();
            assert!(why.contains(wanted) && !why.contains("topsecret"), "{why}");
        }
        let good = [
            "--mqtt",
            "mqtt://u@b/x",
            "--mqtt-password-file",
            "x",
            "--webhook",
            "https://h/x",
        ];
        assert_eq!(checked(&good), Ok(()));
    }

    #[test]
    fn the_servers_url_is_an_address_and_no_more() {
        let url = |text: &str| text.parse::<HttpUrl>().map(|url| url.to_string());
        assert_eq!(url("https://cam.example/").unwrap(), "https://cam.example");
        assert_eq!(
            url("http://nas:8080/cams/").unwrap(),
            "http://nas:8080/cams"
        );
        for wrong in [
            "cam.example",
            "ftp://x",
            "http://u@x",
            "http://x?y",
            "http://x#y",
        ] {
            assert!(url(wrong).is_err(), "{wrong}");
        }
    }
}
