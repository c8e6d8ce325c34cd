//! `relay-server doctor`: checks whether the relay would start here with these flags, whether peers reach it, and whether
//! its model runs.
//!
//! The doctor does what the relay does: it binds the port, loads the model and runs it. Only what cannot be tried on this
//! machine alone is inferred from signs. A relay that runs already is not a fault: then the user wants to know why no
//! picture comes.

mod state;

use std::fs;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use imaging::jpeg;
use memchr::memmem;
use opencv::core::{CV_8UC3, Mat, Scalar};
use platform::doctor::files;
use platform::doctor::machine::{self, ReassemblyCheck};
use platform::doctor::{Check, Report, service};
use platform::{config, directories};
use protocol::every::Every;

use self::state::{State, judge_state};
use crate::args::Args;
use crate::configure;
use crate::transport::http::Listen;
use crate::transport::port;
use vision::detect::provider::Provider;
use vision::detect::{Detector, Model, runtime};

/// The sender's default rate, frames a second.
const SENDER_FPS: f64 = 10.0;
/// Longest wait for an HTTP server's answer.
const HTTP_TIMEOUT: Duration = Duration::from_secs(2);

/// Checks all that the relay needs, and prints the results with what to do.
pub fn run(args: &Args) -> ExitCode {
    let reassembly = ReassemblyCheck::start();
    let mut report = Report::default();
    let taken = port::reserve(args.listen).map(drop);
    let runs = taken.is_err() && is_relay(args.listen);
    report.add(&judge_port(args.listen, taken, runs));
    report.extend(Listen::address(args.http).map(|http| {
        let taken = TcpListener::bind(http).map(drop);
        let answers = taken.is_err() && runs && is_relay_http(http);
        judge_http(http, taken, answers, args.http.is_some())
    }));
    let state = directories::state(args.state.as_deref());
    report.add(&judge_state(State::of(state), args.private));
    for (flag, file) in [
        ("--detections", &args.detections),
        ("--events", &args.events),
    ] {
        let file = file.as_deref().filter(|file| file.as_os_str() != "-");
        report.extend(file.map(|file| files::check(flag, file, files::try_file(file))));
    }
    check_model(args, &mut report);
    report.add(&machine::processors());
    report.add(&machine::container());
    report.add(&machine::buffers());
    report.add(&reassembly.finish(!args.private));
    report.add(&machine::clock());
    let examined = config::file::<Args>();
    report.extend(service::checks("relay-server", examined.as_deref()));
    report.end()
}

/// Returns whether a Sightline relay holds the port.
fn is_relay(listen: SocketAddr) -> bool {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.is_ok_and(|runtime| runtime.block_on(quic::doctor::is_relay(local_address(listen))))
}

/// Returns the address at which this machine itself reaches a listening socket.
fn local_address(listen: SocketAddr) -> SocketAddr {
    let ip: IpAddr = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

fn judge_port(listen: SocketAddr, taken: anyhow::Result<()>, runs: bool) -> Check {
    let port = listen.port();
    match taken {
        Ok(()) if listen.ip().is_loopback() => Check::good(
            "port",
            format!("UDP {listen} is free, for this machine alone"),
        ),
        Ok(()) => Check::good(
            "port",
            format!(
                "UDP {listen} is free; firewalls have to let it in (ufw allow {port}/udp, and the provider's)"
            ),
        ),
        Err(_) if runs => Check::good("port", format!("a Sightline relay answers at UDP {listen}")),
        Err(err) => Check::bad("port", format!("{err:#}")),
    }
}

/// Returns whether the HTTP server of a Sightline relay answers.
fn is_relay_http(http: SocketAddr) -> bool {
    let request = || -> io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&local_address(http), HTTP_TIMEOUT)?;
        stream.set_read_timeout(Some(HTTP_TIMEOUT))?;
        stream.write_all(b"GET /healthz HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream.take(4096).read_to_string(&mut answer)?;
        Ok(answer)
    };
    request().is_ok_and(|answer| answer.ends_with("alive\n"))
}

/// `answers`: the running relay's own server holds the port. `flag`: `--http` names the address, so the relay ends if it
/// cannot be bound.
fn judge_http(http: SocketAddr, taken: io::Result<()>, answers: bool, flag: bool) -> Check {
    let Err(err) = taken else {
        return Check::good("http", format!("TCP {http} is free"));
    };
    if answers {
        return Check::good("http", format!("a Sightline relay answers at TCP {http}"));
    }
    let cure = match err.kind() {
        ErrorKind::AddrInUse => "stop what holds it, or use another with --http ADDRESS:PORT",
        _ => "use another with --http ADDRESS:PORT, or none with --http off",
    };
    match flag {
        true => Check::bad("http", format!("TCP {http}: {err}; {cure}")),
        false => Check::advice(
            "http",
            format!("TCP {http}: {err}, so the relay goes without; {cure}"),
        ),
    }
}

/// Loads ONNX Runtime and the model, and runs them.
fn check_model(args: &Args, report: &mut Report) {
    let model = match configure::model(args) {
        Ok(Some(model)) => model,
        Ok(None) => return report.add(&Check::good("model", "none: frames go on as they come")),
        Err(err) => return report.add(&Check::bad("model", format!("{err:#}"))),
    };
    let found = runtime::library(args.onnxruntime.as_deref());
    let loaded = found.and_then(|path| {
        let loaded = runtime::load(Some(&path))?;
        Ok((loaded, path))
    });
    let (environment, path) = match loaded {
        Ok(loaded) => loaded,
        Err(err) => return report.add(&Check::bad("ONNX Runtime", format!("{err:#}"))),
    };
    report.add(&judge_runtime(&path, version(&path)));
    let tried = Detector::load(&environment, &model, configure::settings(args)).and_then(infer);
    report.add(&judge_model(&model, args, tried));
}

/// Returns the time of a frame of the default size, of a warm model, and the provider that ran it.
fn infer(mut detector: Detector) -> anyhow::Result<(Duration, Provider)> {
    let picture = Mat::new_rows_cols_with_default(200, 300, CV_8UC3, Scalar::all(114.0))?;
    let frame = jpeg::encode(&picture, 80)?;
    detector.detect(&frame).context("a trial frame")?;
    Ok((detector.detect(&frame)?.took, detector.provider()))
}

/// Returns the library's version. Official builds have it in the table of their symbols' versions (`VERS_1.32.0`); the
/// library's own function for it cannot be called safely from Rust.
fn version(library: &Path) -> Option<String> {
    const MARK: &[u8] = b"\0VERS_";
    let bytes = fs::read(library).ok()?;
    let rest = &bytes[memmem::find(&bytes, MARK)? + MARK.len()..];
    let digits = rest
        .iter()
        .take(16)
        .take_while(|byte| byte.is_ascii_digit() || **byte == b'.');
    let version: String = digits.map(|byte| char::from(*byte)).collect();
    (!version.is_empty()).then_some(version)
}

fn judge_runtime(path: &Path, version: Option<String>) -> Check {
    let version = version.unwrap_or_else(|| "of an unknown version".to_owned());
    Check::good("ONNX Runtime", format!("{version}, {}", path.display()))
}

fn judge_model(model: &Model, args: &Args, tried: anyhow::Result<(Duration, Provider)>) -> Check {
    let (took, provider) = match tried {
        Ok((took, provider)) => (took.max(Duration::from_micros(1)), provider),
        Err(err) => return Check::bad("model", format!("{err:#}")),
    };
    let name = model.to_string();
    let ms = took.as_secs_f64() * 1e3;
    let rate = match args.every {
        Every::Auto => f64::INFINITY,
        Every::Nth(n) => f64::from(n.get()) / took.as_secs_f64(),
    };
    if rate < SENDER_FPS {
        return Check::advice(
            "model",
            format!(
                "{name} takes {ms:.0} ms a frame by {provider}, so with --every {} it keeps up with {rate:.1} frames a \
                 second: --every auto, a smaller --net-size or a smaller model make boxes younger",
                args.every
            ),
        );
    }
    match (model, &args.model) {
        (Model::Demo, None) => Check::advice(
            "model",
            format!(
                "{name}, {ms:.1} ms a frame: it knows the demo scene alone; scripts/get-model yolov5n fetches a real one"
            ),
        ),
        _ => Check::good(
            "model",
            format!("{name} loads, and takes {ms:.1} ms a frame by {provider}"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use platform::doctor::Verdict::{self, Advice, Bad, Good};

    use super::*;

    pub(super) fn assert_check(check: &Check, verdict: Verdict, text: &str) {
        assert!(
            check.verdict == verdict && check.text.contains(text),
            "{check:?}"
        );
    }

    fn args(flags: &[&str]) -> Args {
        Args::parse_from(["relay-server", "doctor"].iter().chain(flags))
    }

    #[test]
    fn a_port_is_free_or_ours_or_somebody_elses() {
        let all = "0.0.0.0:8081".parse().unwrap();
        assert_check(&judge_port(all, Ok(()), false), Good, "ufw allow 8081/udp");
        let here = "127.0.0.1:8081".parse().unwrap();
        assert_check(&judge_port(here, Ok(()), false), Good, "this machine alone");
        let taken = || Err(anyhow::anyhow!("in use; --listen"));
        assert_check(
            &judge_port(all, taken(), true),
            Good,
            "a Sightline relay answers",
        );
        assert_check(&judge_port(all, taken(), false), Bad, "--listen");
    }

    #[test]
    fn a_web_port_that_is_taken_is_the_running_relays_or_is_to_be_changed() {
        let http = "127.0.0.1:8080".parse().unwrap();
        let taken = || Err(io::Error::from(ErrorKind::AddrInUse));
        let judge = |taken, answers, flag| judge_http(http, taken, answers, flag);
        assert_check(&judge(Ok(()), false, true), Good, "is free");
        assert_check(&judge(taken(), true, true), Good, "a Sightline relay");
        assert_check(&judge(taken(), false, false), Advice, "stop what holds it");
        assert_check(&judge(taken(), false, true), Bad, "stop what holds it");
        let denied = Err(io::Error::from(ErrorKind::PermissionDenied));
        assert_check(&judge(denied, false, true), Bad, "use another with --http");
    }

    #[test]
    fn an_http_transport_is_known_by_its_answer() {
        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = other.local_addr().unwrap();
        let answers = |answer: &'static str| {
            let other = other.try_clone().unwrap();
            let server = std::thread::spawn(move || {
                let (mut stream, _) = other.accept().unwrap();
                let _ = stream.read(&mut [0; 100]);
                stream.write_all(answer.as_bytes()).unwrap();
            });
            let known = is_relay_http(at);
            server.join().unwrap();
            known
        };
        assert!(answers("HTTP/1.0 200 OK\r\n\r\nalive\n"));
        assert!(!answers("HTTP/1.0 404 Not Found\r\n\r\n"));
        drop(other);
        assert!(!is_relay_http(at));
    }

    #[test]
    fn all_addresses_are_reached_at_the_machines_own() {
        let at = |listen: &str| local_address(listen.parse().unwrap()).to_string();
        assert_eq!(at("0.0.0.0:8081"), "127.0.0.1:8081");
        assert_eq!(at("[::]:8081"), "[::1]:8081");
        assert_eq!(at("192.0.2.1:1"), "192.0.2.1:1");
    }

    #[test]
    fn a_model_is_judged_by_the_rate_it_keeps_up_with() {
        let ms = |ms| Ok((Duration::from_millis(ms), Provider::Cpu));
        let model = Model::File("yolov5n.onnx".into());
        let judge = |flags: &[&str], took| judge_model(&model, &args(flags), took);
        assert_check(
            &judge(&[], ms(40)),
            Good,
            "yolov5n loads, and takes 40.0 ms a frame by cpu",
        );
        assert_check(&judge(&[], ms(500)), Advice, "keeps up with 8.0");
        assert_check(&judge(&["--every", "8"], ms(500)), Good, "500.0 ms");
        assert_check(&judge(&["--every", "auto"], ms(5000)), Good, "5000.0 ms");
        assert_check(
            &judge(&[], Err(anyhow::anyhow!("no YOLOv5"))),
            Bad,
            "no YOLOv5",
        );
    }

    #[test]
    fn a_demo_model_that_nobody_asked_for_is_said() {
        let judge = |flags: &[&str]| {
            judge_model(
                &Model::Demo,
                &args(flags),
                Ok((Duration::ZERO, Provider::Cpu)),
            )
        };
        assert_check(&judge(&[]), Advice, "scripts/get-model yolov5n");
        assert_check(&judge(&["--model", "demo"]), Good, "demo loads");
    }

    #[test]
    fn the_librarys_version_stands_in_it_or_is_unknown() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let version_of = |bytes: &[u8]| {
            fs::write(file.path(), bytes).unwrap();
            version(file.path())
        };
        assert_eq!(
            version_of(b"\x7fELF..\0VERS_1.32.0\0..").as_deref(),
            Some("1.32.0")
        );
        assert_eq!(version_of(b"\0VERS_"), None);
        assert_eq!(version_of(b""), None);
        assert!(
            judge_runtime(file.path(), None)
                .text
                .contains("unknown version")
        );
    }
}
