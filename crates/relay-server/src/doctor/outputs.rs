//! The checks of the outputs of events: whether their receivers can be reached, as far as that sends them nothing.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use platform::doctor::Check;
use reqwest::Url;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::args::Args;
use crate::outputs::hook::HookCommand;
use crate::outputs::mqtt::connection;
use crate::outputs::{plan, webhook};

/// Longest wait for a webhook's host.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Returns the checks of the outputs that the flags name.
pub(super) fn checks(args: &Args) -> Vec<Check> {
    let mqtt = args.mqtt.is_some().then(|| check_mqtt(args));
    let webhook = args.webhook.as_ref().and_then(|webhook| webhook.url().ok());
    let webhook = webhook.map(|url| judge_webhook(args, url, block_on(connect(url))));
    let hook = args.on_event.as_ref();
    let hook = hook.map(|command| judge_command(command, find(command.program())));
    mqtt.into_iter().chain(webhook).chain(hook).collect()
}

/// Connects to the broker as the relay does, but for the client's id.
fn check_mqtt(args: &Args) -> Check {
    let tried = || -> anyhow::Result<String> {
        // A running relay would lose its connection to another one with its client id.
        let login = plan::login(args, "sightline-doctor")?.context("no broker")?;
        let broker = login.broker().clone();
        let refused = |why: String| anyhow::anyhow!("{broker}: {why}");
        block_on(async { connection::try_login(&login).await.map_err(refused) })?;
        Ok(format!("the broker {broker} accepts the relay"))
    };
    Check::of("mqtt", tried())
}

/// Connects to a webhook's host, and sends nothing.
async fn connect(url: &Url) -> anyhow::Result<()> {
    let host = webhook::host(url);
    let connected = timeout(CONNECT_TIMEOUT, TcpStream::connect(&host));
    let connected = connected
        .await
        .with_context(|| format!("no answer within {} s", CONNECT_TIMEOUT.as_secs()))?;
    connected.map(drop).map_err(Into::into)
}

fn judge_webhook(args: &Args, url: &Url, connected: anyhow::Result<()>) -> Check {
    let host = webhook::host(url);
    if let Some(template) = &args.webhook_template
        && let Err(err) = plan::template(template)
    {
        return Check::bad("webhook", format!("{err:#}"));
    }
    match connected {
        Ok(()) if args.http_url.is_none() => Check::advice(
            "webhook",
            format!(
                "{host} answers; without --http-url the pictures' URLs in what is posted are paths without a host"
            ),
        ),
        Ok(()) => Check::good("webhook", format!("{host} answers")),
        Err(err) => Check::bad(
            "webhook",
            format!("{host}: {err:#}; check the host of --webhook, and firewalls"),
        ),
    }
}

/// Returns where the system finds a program.
fn find(program: &str) -> Option<PathBuf> {
    let runs = |file: &PathBuf| {
        let facts = file.metadata();
        facts.is_ok_and(|facts| facts.is_file() && facts.permissions().mode() & 0o111 != 0)
    };
    if program.contains('/') {
        return Some(Path::new(program).to_owned()).filter(runs);
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|directory| directory.join(program))
        .find(runs)
}

fn judge_command(command: &HookCommand, found: Option<PathBuf>) -> Check {
    match found {
        Some(file) => Check::good("on-event", format!("{} runs at each event", file.display())),
        None => Check::bad(
            "on-event",
            format!(
                "no program `{}` is found: give --on-event its whole path, and make it executable (chmod +x)",
                command.program()
            ),
        ),
    }
}

/// Runs a check that waits.
fn block_on<T>(check: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(check)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use platform::doctor::Verdict::{Advice, Bad, Good};

    use super::super::tests::assert_check;
    use super::*;

    fn args(flags: &[&str]) -> Args {
        Args::parse_from(["relay-server", "doctor"].iter().chain(flags))
    }

    #[test]
    fn a_webhooks_host_answers_or_is_named_without_the_path() {
        let flags = ["--webhook", "https://h.example/secret"];
        let args_with_url = args(&[&flags[..], &["--http-url", "https://cam.example"]].concat());
        let url = args_with_url.webhook.as_ref().unwrap().url().unwrap();
        assert_check(
            &judge_webhook(&args(&flags), url, Ok(())),
            Advice,
            "--http-url",
        );
        assert_check(
            &judge_webhook(&args_with_url, url, Ok(())),
            Good,
            "h.example:443",
        );
        let closed = judge_webhook(&args_with_url, url, Err(anyhow::anyhow!("refused")));
        assert_check(&closed, Bad, "h.example:443: refused");
        assert!(!closed.text.contains("secret"));
        let template = args(&[&flags[..], &["--webhook-template", "/nonexistent"]].concat());
        assert_check(
            &judge_webhook(&template, url, Ok(())),
            Bad,
            "--webhook-template /nonexistent",
        );
    }

    #[test]
    fn a_command_is_found_where_the_system_finds_it() {
        let judge = |command: &str| {
            let command: HookCommand = command.parse().unwrap();
            judge_command(&command, find(command.program()))
        };
        assert_check(&judge("sh -c 'true'"), Good, "/sh runs");
        assert_check(&judge("/bin/sh"), Good, "/bin/sh");
        for missing in ["no-such-program-here", "/nonexistent/x", "/etc/passwd", "/"] {
            assert_check(&judge(missing), Bad, "chmod +x");
        }
    }

    #[test]
    fn a_broker_that_is_not_there_is_named_with_the_cure() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        drop(taken);
        let checks = checks(&args(&["--mqtt", &format!("mqtt://127.0.0.1:{port}")]));
        assert_check(&checks[0], Bad, &format!("127.0.0.1:{port}: "));
    }
}
