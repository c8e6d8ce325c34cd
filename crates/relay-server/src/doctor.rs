//! `relay-server doctor`: would the relay start here, with these flags, and could it be reached and see?
//!
//! Everything is tried as the relay does it, the port taken, the model loaded and run; only what cannot be tried from here
//! is told by signs. A relay that runs already is no fault: then the doctor is asked why no picture comes.

use std::fs;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use imaging::jpeg;
use memchr::memmem;
use opencv::core::{CV_8UC3, Mat, Scalar};
use platform::directories;
use platform::doctor::files;
use platform::doctor::machine::{self, ReassemblyCheck};
use platform::doctor::{Check, Report};
use protocol::schedule::Every;

use crate::access::{self, SECRETS};
use crate::args::{Args, ModelChoice};
use crate::configure;
use crate::transport::http::Listen;
use crate::transport::port;
use vision::detect::provider::Provider;
use vision::detect::{Detector, Model, runtime};

/// What the sender sends unless told otherwise (frames a second).
const RATE: f64 = 10.0;
/// For a web door to answer.
const WEB: Duration = Duration::from_secs(2);

/// Looks at all that the relay needs, and says what to do.
pub fn run(args: &Args) -> ExitCode {
    if args.model != Some(ModelChoice::None) {
        runtime::silence_telemetry();
    }
    let reassembly = ReassemblyCheck::start();
    let mut report = Report::default();
    let taken = port::reserve(args.listen).map(drop);
    let runs = taken.is_err() && is_relay(args.listen);
    report.add(&judge_port(args.listen, taken, runs));
    report.extend(Listen::address(args.http).map(|web| {
        let taken = TcpListener::bind(web).map(drop);
        let answers = taken.is_err() && runs && is_web_door(web);
        judge_web(web, taken, answers, args.http.is_some())
    }));
    let state = directories::state(args.state.as_deref());
    report.add(&judge_state(State::of(state), args.private));
    let file = args.detections.as_deref();
    let file = file.filter(|file| file.as_os_str() != "-");
    report.extend(file.map(|file| files::check("--detections", file, files::try_file(file))));
    see(args, &mut report);
    report.add(&machine::processors());
    report.add(&machine::container());
    report.add(&machine::buffers());
    report.add(&reassembly.finish(!args.private));
    report.add(&machine::clock());
    report.end()
}

/// Whether what holds the port is a relay of ours.
fn is_relay(listen: SocketAddr) -> bool {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.is_ok_and(|runtime| runtime.block_on(quic::doctor::is_relay(reached(listen))))
}

/// Where this machine itself reaches an address that it listens at.
fn reached(listen: SocketAddr) -> SocketAddr {
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

/// Whether a relay's web door is there.
fn is_web_door(web: SocketAddr) -> bool {
    let ask = || -> io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&reached(web), WEB)?;
        stream.set_read_timeout(Some(WEB))?;
        stream.write_all(b"GET /healthz HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream.take(4096).read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.ends_with("alive\n"))
}

/// `answers`: it is the running relay's own; `asked`: the relay ends where it cannot have the port that it was given.
fn judge_web(web: SocketAddr, taken: io::Result<()>, answers: bool, asked: bool) -> Check {
    let Err(err) = taken else {
        return Check::good("web door", format!("TCP {web} is free"));
    };
    if answers {
        let words = format!("a Sightline relay answers at TCP {web}");
        return Check::good("web door", words);
    }
    let cure = match err.kind() {
        ErrorKind::AddrInUse => "stop what holds it, or use another with --http ADDRESS:PORT",
        _ => "use another with --http ADDRESS:PORT, or none with --http off",
    };
    match asked {
        true => Check::bad("web door", format!("TCP {web}: {err}; {cure}")),
        false => Check::advice(
            "web door",
            format!("TCP {web}: {err}, so the relay goes without; {cure}"),
        ),
    }
}

/// The directory of what outlives a restart.
#[derive(Debug)]
struct State {
    path: Option<PathBuf>,
    /// Whether a file can be made there, or in what is there of the way to it.
    writable: io::Result<()>,
    /// What others may read, and may not.
    loose: Vec<PathBuf>,
    /// Whether what is kept there can be used.
    kept: anyhow::Result<()>,
}

impl State {
    fn of(path: Option<PathBuf>) -> Self {
        let secrets = |dir: &Path| SECRETS.map(|name| dir.join(name));
        let files = path.iter().flat_map(|dir| secrets(dir));
        let loose = files.filter(|file| is_loose(file)).collect();
        let writable = path.as_deref().map_or(Ok(()), files::try_directory);
        let kept = path.as_deref().map_or(Ok(()), access::examine);
        Self {
            path,
            writable,
            loose,
            kept,
        }
    }
}

/// Whether anybody but its owner may do something with it.
fn is_loose(file: &Path) -> bool {
    fs::metadata(file).is_ok_and(|found| found.permissions().mode() & 0o077 != 0)
}

fn judge_state(state: State, private: bool) -> Check {
    let missing = |what: String| match private {
        true => Check::bad(
            "state",
            format!("{what}, and --private keeps its tokens there: name another with --state DIR"),
        ),
        false => Check::advice(
            "state",
            format!(
                "{what}, so certificate and viewers are forgotten at a restart: name another with --state DIR"
            ),
        ),
    };
    let Some(path) = state.path else {
        return missing("no home directory says where".to_owned());
    };
    if let Err(err) = state.kept {
        return missing(format!("{err:#}"));
    }
    let path = path.display();
    match (state.writable, state.loose.first()) {
        (Err(err), _) => missing(format!("{path} cannot be written: {err}")),
        (Ok(()), Some(loose)) => Check::advice(
            "state",
            format!(
                "others may read {}, which holds a secret: chmod 600 {path}/*",
                loose.display()
            ),
        ),
        (Ok(()), None) => Check::good(
            "state",
            format!("{path} can be written, and nobody else reads its secrets"),
        ),
    }
}

/// ONNX Runtime and the model, loaded and run.
fn see(args: &Args, report: &mut Report) {
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

/// How long a frame of the default size takes, when all is warm, and on what.
fn infer(mut detector: Detector) -> anyhow::Result<(Duration, Provider)> {
    let picture = Mat::new_rows_cols_with_default(200, 300, CV_8UC3, Scalar::all(114.0))?;
    let frame = jpeg::encode(&picture, 80)?;
    detector.detect(&frame).context("a trial frame")?;
    Ok((detector.detect(&frame)?.took, detector.provider()))
}

/// The library's version. Official builds name it in the table of their symbols' versions (`VERS_1.32.0`); the library
/// itself tells it only by a function that Rust cannot call safely.
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
    let version = version.unwrap_or_else(|| "of a version that it does not tell".to_owned());
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
    if rate < RATE {
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
    use std::fs::Permissions;

    use clap::Parser as _;
    use platform::doctor::Verdict::{self, Advice, Bad, Good};

    use super::*;

    fn told(check: &Check, verdict: Verdict, words: &str) {
        assert!(
            check.verdict == verdict && check.text.contains(words),
            "{check:?}"
        );
    }

    fn args(words: &[&str]) -> Args {
        Args::parse_from(["relay-server", "doctor"].iter().chain(words))
    }

    #[test]
    fn a_port_is_free_or_ours_or_somebody_elses() {
        let all = "0.0.0.0:8081".parse().unwrap();
        told(&judge_port(all, Ok(()), false), Good, "ufw allow 8081/udp");
        let here = "127.0.0.1:8081".parse().unwrap();
        told(&judge_port(here, Ok(()), false), Good, "this machine alone");
        let taken = || Err(anyhow::anyhow!("in use; --listen"));
        told(
            &judge_port(all, taken(), true),
            Good,
            "a Sightline relay answers",
        );
        told(&judge_port(all, taken(), false), Bad, "--listen");
    }

    #[test]
    fn a_web_port_that_is_taken_is_the_running_relays_or_is_to_be_changed() {
        let web = "127.0.0.1:8080".parse().unwrap();
        let taken = || Err(io::Error::from(ErrorKind::AddrInUse));
        let judge = |taken, answers, asked| judge_web(web, taken, answers, asked);
        told(&judge(Ok(()), false, true), Good, "is free");
        told(&judge(taken(), true, true), Good, "a Sightline relay");
        told(&judge(taken(), false, false), Advice, "stop what holds it");
        told(&judge(taken(), false, true), Bad, "stop what holds it");
        let denied = Err(io::Error::from(ErrorKind::PermissionDenied));
        told(&judge(denied, false, true), Bad, "use another with --http");
    }

    #[test]
    fn a_web_door_is_known_by_its_answer() {
        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = other.local_addr().unwrap();
        let answers = |words: &'static str| {
            let other = other.try_clone().unwrap();
            let one = std::thread::spawn(move || {
                let (mut stream, _) = other.accept().unwrap();
                let _ = stream.read(&mut [0; 100]);
                stream.write_all(words.as_bytes()).unwrap();
            });
            let is = is_web_door(at);
            one.join().unwrap();
            is
        };
        assert!(answers("HTTP/1.0 200 OK\r\n\r\nalive\n"));
        assert!(!answers("HTTP/1.0 404 Not Found\r\n\r\n"));
        drop(other);
        assert!(!is_web_door(at));
    }

    #[test]
    fn all_addresses_are_reached_at_the_machines_own() {
        let at = |listen: &str| reached(listen.parse().unwrap()).to_string();
        assert_eq!(at("0.0.0.0:8081"), "127.0.0.1:8081");
        assert_eq!(at("[::]:8081"), "[::1]:8081");
        assert_eq!(at("192.0.2.1:1"), "192.0.2.1:1");
    }

    #[test]
    fn a_private_relay_needs_its_state_and_an_open_one_only_misses_it() {
        let state = |path: Option<&str>, writable| State {
            path: path.map(PathBuf::from),
            writable,
            loose: Vec::new(),
            kept: Ok(()),
        };
        let denied = || Err(ErrorKind::PermissionDenied.into());
        told(&judge_state(state(Some("/s"), Ok(())), true), Good, "/s");
        told(
            &judge_state(state(Some("/s"), denied()), true),
            Bad,
            "--state DIR",
        );
        told(
            &judge_state(state(Some("/s"), denied()), false),
            Advice,
            "/s cannot be written",
        );
        told(&judge_state(state(None, Ok(())), true), Bad, "--state DIR");
        let damaged = State {
            kept: Err(anyhow::anyhow!("identity is damaged")),
            ..state(Some("/s"), Ok(()))
        };
        told(&judge_state(damaged, true), Bad, "identity is damaged");
    }

    #[test]
    fn a_secret_that_others_may_read_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("viewer.token");
        fs::write(&file, protocol::ticket::Key([7; 32]).to_string()).unwrap();
        for (mode, verdict) in [(0o640, Advice), (0o600, Good)] {
            fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
            let state = State::of(Some(dir.path().to_owned()));
            told(&judge_state(state, true), verdict, "");
        }
        assert_eq!(
            fs::read_dir(dir.path()).unwrap().count(),
            1,
            "the trial is gone"
        );
    }

    #[test]
    fn a_model_is_judged_by_the_rate_it_keeps_up_with() {
        let ms = |ms| Ok((Duration::from_millis(ms), Provider::Cpu));
        let model = Model::File("yolov5n.onnx".into());
        let judge = |words: &[&str], took| judge_model(&model, &args(words), took);
        told(
            &judge(&[], ms(40)),
            Good,
            "yolov5n loads, and takes 40.0 ms a frame by cpu",
        );
        told(&judge(&[], ms(500)), Advice, "keeps up with 8.0");
        told(&judge(&["--every", "8"], ms(500)), Good, "500.0 ms");
        told(&judge(&["--every", "auto"], ms(5000)), Good, "5000.0 ms");
        told(
            &judge(&[], Err(anyhow::anyhow!("no YOLOv5"))),
            Bad,
            "no YOLOv5",
        );
    }

    #[test]
    fn a_demo_model_that_nobody_asked_for_is_said() {
        let judge = |words: &[&str]| {
            judge_model(
                &Model::Demo,
                &args(words),
                Ok((Duration::ZERO, Provider::Cpu)),
            )
        };
        told(&judge(&[]), Advice, "scripts/get-model yolov5n");
        told(&judge(&["--model", "demo"]), Good, "demo loads");
    }

    #[test]
    fn the_librarys_version_stands_in_it_or_is_unknown() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let told = |bytes: &[u8]| {
            fs::write(file.path(), bytes).unwrap();
            version(file.path())
        };
        assert_eq!(
            told(b"\x7fELF..\0VERS_1.32.0\0..").as_deref(),
            Some("1.32.0")
        );
        assert_eq!(told(b"\0VERS_"), None);
        assert_eq!(told(b""), None);
        assert!(
            judge_runtime(file.path(), None)
                .text
                .contains("does not tell")
        );
    }
}
