//! `viewer doctor`: checks that a window opens, that the files can be written and that the relay answers with a picture.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use imaging::window;
use platform::config::TransportChoice;
use platform::doctor::files;
use platform::doctor::machine::{self, ReassemblyCheck};
use platform::doctor::{Check, Report};
use platform::http_client;
use protocol::quic::Role;
use quic::doctor::RelayCheck;

use crate::args::Args;

/// Checks all that the viewer needs, and prints what to do.
pub fn run(args: &Args) -> ExitCode {
    let reassembly = ReassemblyCheck::start();
    let mut report = Report::default();
    let display = (!args.headless).then(window::check_display);
    report.add(&judge_display(display));
    let files = [("--shown", &args.shown), ("--record", &args.record)];
    for (flag, file) in files {
        let check = |file: &PathBuf| files::check(flag, file, files::try_file(file));
        report.extend(file.as_ref().map(check));
    }
    let save = |dir: &PathBuf| files::check("--save", dir, files::try_directory(dir));
    report.extend(args.save.as_ref().map(save));
    if let Err(err) = check_relay(args, &mut report) {
        report.add(&Check::bad("relay", format!("{err:#}")));
    }
    report.add(&machine::buffers());
    report.add(&reassembly.finish(args.transport == TransportChoice::Udp));
    report.add(&machine::clock());
    report.end()
}

fn check_relay(args: &Args, report: &mut Report) -> anyhow::Result<()> {
    let check = RelayCheck {
        server: &args.server,
        transport: args.transport,
        role: Role::View,
        camera: args.camera(),
    };
    let server = &args.server;
    let unanswered = match server.url() {
        Some(_) => Vec::new(),
        None => check.run(report).context("starting the runtime")?,
    };
    let by_http = server.url().is_some() || !unanswered.is_empty();
    if by_http && args.transport == TransportChoice::Auto {
        return http_client::check(server, "/api/cameras", unanswered, report)
            .context("starting the runtime");
    }
    report.extend(unanswered);
    Ok(())
}

/// Returns the check of `display`: whether a window opens, `None` with `--headless`.
fn judge_display(display: Option<anyhow::Result<()>>) -> Check {
    match display {
        None => Check::good("display", "not needed with --headless"),
        Some(Ok(())) => Check::good("display", "a window opens"),
        Some(Err(err)) => Check::bad(
            "display",
            format!("{err:#}; --headless does without a window"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use platform::doctor::Verdict;

    use super::*;

    #[test]
    fn a_display_is_needed_for_a_window_alone() {
        assert_eq!(judge_display(None).verdict, Verdict::Good);
        assert_eq!(judge_display(Some(Ok(()))).verdict, Verdict::Good);
        let none = judge_display(Some(Err(anyhow::anyhow!("DISPLAY is not set"))));
        assert_eq!(none.verdict, Verdict::Bad);
        assert!(none.text.contains("DISPLAY") && none.text.contains("--headless"));
    }
}
