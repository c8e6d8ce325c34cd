//! Sender and viewer where UDP is blocked: by HTTP, straight and through a proxy, and back to QUIC when the path is open.

#![expect(
    clippy::unwrap_used,
    reason = "a test's helpers, too, fail by panicking"
)]

mod common;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use common::{LONG, alone, directory, figure, finish, stop, tool};
use serde_json::Value;
use testkit::port;
use testkit::process::{Program, Running, binary, on_path};

/// Runs a script in a network of its own, whose UDP it may block; `None` if this machine does not allow that.
fn in_a_network_of_its_own(script: &str, work: &Path) -> Option<()> {
    let tools = ["nft", "ip", "unshare"].map(|name| on_path(name).is_some());
    if tools != [true; 3] {
        testkit::skip("nft, ip or unshare (scripts/setup --test) is not here");
        return None;
    }
    let allowed = Command::new("unshare")
        .args([
            "--user",
            "--map-root-user",
            "--net",
            "nft",
            "list",
            "ruleset",
        ])
        .output();
    if !allowed.is_ok_and(|output| output.status.success()) {
        testkit::skip("this machine allows no network namespaces with nft (unshare --user --net)");
        return None;
    }
    let file = work.join("run");
    fs::write(&file, script).unwrap();
    let programs = ["relay-server", "pi-sender", "viewer"].map(binary);
    // The way back to QUIC takes half a minute; each wait of the script has a bound of its own.
    let run = Command::new("timeout")
        .args(["--kill-after=5", "300", "unshare"])
        .args(["--user", "--map-root-user", "--net", "bash"])
        .args([file.as_path(), work])
        .args(&programs)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&run.stderr);
    let logs = ["relay", "sender", "viewer", "back-sender", "back-viewer"];
    let logs = logs.map(|log| fs::read_to_string(work.join(log)).unwrap_or_default());
    assert!(run.status.success(), "{errors}\n{}", logs.join("\n"));
    Some(())
}

fn report(work: &Path, name: &str) -> Value {
    let text = fs::read_to_string(work.join(name)).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn log(work: &Path, name: &str) -> String {
    fs::read_to_string(work.join(name)).unwrap()
}

/// Blocks UDP to the relay, waits for a line of a log, and stops what it has started.
const FUNCTIONS: &str = r#"
set -eu
work=$1 relay=$2 sender=$3 viewer=$4
started=
trap 'kill $started 2>/dev/null || true' EXIT
ip link set lo up
nft add table inet test
nft 'add chain inet test in { type filter hook input priority 0; }'
nft add rule inet test in udp dport 8081 drop
# Waits until a line of a file has these words.
line() {
    for _ in $(seq 1200); do
        if grep -q "$2" "$work/$1" 2>/dev/null; then return; fi
        sleep 0.05
    done
    echo "no line '$2' in $1" >&2
    exit 1
}
"#;

#[test]
fn where_udp_is_blocked_frames_go_by_http_and_by_quic_again_when_it_is_open() {
    let (_alone, work) = (alone(), directory());
    let work = work.path();
    let script = r#"
"$relay" --model demo --every 2 --state "$work/state" 2>"$work/relay" & started="$started $!"
line relay listening
"$sender" 127.0.0.1 --source demo --camera yard --frames 120 --report >"$work/sender.json" 2>"$work/sender" & first=$!
"$viewer" 127.0.0.1 --camera yard --headless --frames 20 --shown "$work/shown" --report \
    >"$work/viewer.json" 2>"$work/viewer" & watching=$!
"$sender" 127.0.0.1 --source demo --camera drive --report >"$work/back-sender.json" 2>"$work/back-sender" & back=$!
"$viewer" 127.0.0.1 --camera drive --headless --report >"$work/back-viewer.json" 2>"$work/back-viewer" & seeing=$!
started="$started $first $watching $back $seeing"
wait $first
wait $watching
line back-viewer 'connected by HTTP'
nft flush chain inet test in
line back-sender 'frames go by QUIC'
line back-viewer 'connected by QUIC'
sleep 1
kill -TERM $back $seeing
wait $back
wait $seeing
"#;
    let script = format!("{FUNCTIONS}{script}");
    let Some(()) = in_a_network_of_its_own(&script, work) else {
        return;
    };
    let (sent, seen) = (report(work, "sender.json"), report(work, "viewer.json"));
    assert_eq!(
        (&sent["transport"], &seen["transport"]),
        (&"http".into(), &"http".into())
    );
    assert_eq!((&seen["shown"], &seen["lost"]), (&20.into(), &0.into()));
    assert!(seen["detections"].as_u64() >= Some(10), "{seen}");
    let age = seen["age_ms_p50"].as_f64().unwrap();
    assert!(
        (0.0..1000.0).contains(&age),
        "the clocks are compared: {age}"
    );
    let lines = log(work, "shown");
    let boxes = |line: &str| {
        let line: Value = serde_json::from_str(line).unwrap();
        line["boxes"].as_array().map_or(0, Vec::len)
    };
    assert!(lines.lines().any(|line| boxes(line) > 0), "{lines}");
    for name in ["sender", "viewer", "back-sender", "back-viewer"] {
        let log = log(work, name);
        let told = log.matches("UDP to 127.0.0.1:8081 is blocked").count();
        assert_eq!(told, 1, "{log}");
    }
    for name in ["back-sender.json", "back-viewer.json"] {
        let report = report(work, name);
        assert_eq!(report["transport"], "quic", "{report}");
    }
}

#[test]
fn the_doctors_tell_that_udp_is_blocked_and_whether_http_leads_to_the_relay() {
    let (_alone, work) = (alone(), directory());
    let work = work.path();
    let script = r#"
asks() { "$@" >"$work/$name" 2>&1 && echo 0 >>"$work/$name" || echo $? >>"$work/$name"; }
name=none-viewer asks "$viewer" doctor 127.0.0.1 --headless
"$relay" --model none --state "$work/state" 2>"$work/relay" & started="$started $!"
line relay listening
name=sender asks "$sender" doctor 127.0.0.1 --source demo
name=viewer asks "$viewer" doctor 127.0.0.1 --headless
name=url asks "$viewer" doctor http://127.0.0.1:8080 --headless
"#;
    let script = format!("{FUNCTIONS}{script}");
    let Some(()) = in_a_network_of_its_own(&script, work) else {
        return;
    };
    let none = log(work, "none-viewer");
    assert!(
        none.contains("BAD     http") && none.contains("--http 0.0.0.0:8080"),
        "{none}"
    );
    assert_eq!(none.lines().last(), Some("1"), "{none}");
    for name in ["sender", "viewer"] {
        let told = log(work, name);
        assert!(
            told.contains("UDP is blocked, and frames go by HTTP"),
            "{told}"
        );
        assert!(told.contains("advice  udp"), "{told}");
        assert_eq!(told.lines().last(), Some("0"), "{told}");
    }
    let url = log(work, "url");
    assert!(
        url.contains("good    http") && !url.contains("  udp"),
        "{url}"
    );
}

#[test]
fn with_a_ticket_a_blocked_sender_goes_by_tls_alone() {
    let (_alone, work) = (alone(), directory());
    let Some(_) = tool("nginx").and(tool("openssl")) else {
        return;
    };
    let work = work.path();
    certificates(work);
    fs::write(work.join("nginx.conf"), nginx(work, 8080, 8079, 443)).unwrap();
    let script = r#"
"$relay" --model none --private --advertise 127.0.0.1 --state "$work/state" 2>"$work/relay" & started="$started $!"
line relay "viewer --server"
send=$(sed -n "s/.*pi-sender --server '\([^']*\)'.*/\1/p" "$work/relay")
view=$(sed -n "s/.*viewer --server '\([^']*\)'.*/\1/p" "$work/relay")
export SSL_CERT_FILE="$work/ca.pem"
"$sender" "$send" --source demo --camera yard --report >"$work/sender.json" 2>"$work/sender" & sending=$!
started="$started $sending"
line sender 'no relay by HTTP'
if grep -q 'http://\|8080' "$work/sender"; then echo 'a ticket was used in clear text' >&2; exit 1; fi
nginx -e stderr -p "$work" -c "$work/nginx.conf" 2>"$work/nginx" & started="$started $!"
line sender 'sending by HTTP'
"$viewer" "$view" --headless --frames 10 --report >"$work/viewer.json" 2>"$work/viewer"
kill -TERM $sending
wait $sending
"#;
    let script = format!("{FUNCTIONS}{script}");
    let Some(()) = in_a_network_of_its_own(&script, work) else {
        return;
    };
    assert!(log(work, "sender").contains("relay=https://127.0.0.1"));
    for name in ["sender.json", "viewer.json"] {
        assert_eq!(report(work, name)["transport"], "http");
    }
}

#[test]
fn by_http_a_refusal_is_told_and_names_cameras_and_relay_are_found_again() {
    let _alone = alone();
    let (state, [udp, http]) = (directory(), [port::free(), port::free()]);
    let relay = || {
        let at = format!("127.0.0.1:{http}");
        common::relay(udp, state.path(), &["--model", "none", "--http", &at])
    };
    let url = format!("http://127.0.0.1:{http}");
    let program = |name: &str, args: &[&str]| {
        Program::new(binary(name))
            .args(["--server", &url, "--report"])
            .args(args)
            .start()
    };
    let yard = ["--source", "demo", "--camera", "yard"];
    let (first_relay, first) = (relay(), program("pi-sender", &yard));
    first.wait_for_line("frames go by HTTP", LONG);
    let second = program("pi-sender", &yard);
    let refused = second.wait_for_line("no HTTP connection", LONG);
    assert!(
        refused.contains("another source sends as this camera"),
        "{refused}"
    );
    let chosen = program("viewer", &["--headless", "--camera", "porch"]);
    let waits = chosen.wait_for_line("Camera 'porch' is not live", LONG);
    assert!(waits.contains("live are: yard"), "{waits}");
    stop(chosen);
    let any = program("viewer", &["--headless"]);
    any.wait_for_line("camera=yard", LONG);
    any.wait_for_line("frames come", LONG);
    stop(first);
    second.wait_for_line("frames go by HTTP", LONG);
    let drive = program("pi-sender", &["--source", "demo", "--camera", "drive"]);
    drive.wait_for_line("frames go by HTTP", LONG);
    stop(second);
    any.wait_for_line("camera=drive", LONG);
    first_relay.kill();
    drop(first_relay.finish());
    drive.wait_for_line("the connection to the relay is lost", LONG);
    any.wait_for_line("the viewer connects again", LONG);
    let relay = relay();
    relay.wait_for_line("camera appeared", LONG);
    let seen = |any: &Running| {
        any.stderr()
            .iter()
            .filter(|line| line.contains("camera=drive"))
            .count()
    };
    let deadline = Instant::now() + LONG;
    while seen(&any) < 2 {
        assert!(Instant::now() < deadline, "{:?}", any.stderr());
        std::thread::sleep(Duration::from_millis(50));
    }
    stop(any);
    stop(drive);
    stop(relay);
}

/// Makes a CA of our own, `ca.pem`, and a certificate for this host, `host.pem` with `host.key`.
fn certificates(work: &Path) {
    let openssl = |words: &str| {
        let made = Command::new("openssl")
            .args(words.split(' '))
            .current_dir(work)
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&made.stderr);
        assert!(made.status.success(), "{words}: {errors}");
    };
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    openssl(&format!(
        "req -x509 {key} -keyout ca.key -out ca.pem -subj /CN=test-ca -days 2"
    ));
    openssl(&format!(
        "req {key} -keyout host.key -out host.csr -subj /CN=localhost"
    ));
    fs::write(
        work.join("names"),
        "subjectAltName=DNS:localhost,IP:127.0.0.1\n",
    )
    .unwrap();
    openssl(
        "x509 -req -in host.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out host.pem -days 2 -extfile names",
    );
}

/// Returns nginx's configuration: a relay's HTTP server behind a plain port and one with TLS.
fn nginx(work: &Path, relay: u16, plain: u16, tls: u16) -> String {
    let work = work.display();
    format!(
        r#"daemon off;
master_process off;
pid {work}/nginx.pid;
error_log stderr;
user root root;
worker_processes 1;
events {{}}
http {{
    access_log off;
    client_body_temp_path {work}/body;
    proxy_temp_path {work}/proxy;
    fastcgi_temp_path {work}/fastcgi;
    uwsgi_temp_path {work}/uwsgi;
    scgi_temp_path {work}/scgi;
    map $http_upgrade $connection_upgrade {{ default upgrade; '' close; }}
    server {{
        listen 127.0.0.1:{plain};
        listen 127.0.0.1:{tls} ssl;
        ssl_certificate {work}/host.pem;
        ssl_certificate_key {work}/host.key;
        location / {{
            proxy_pass http://127.0.0.1:{relay};
            proxy_http_version 1.1;
            proxy_set_header Host $http_host;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_upgrade;
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_buffering off;
        }}
    }}
}}
"#
    )
}

/// A private relay behind nginx.
struct Proxied {
    relay: Running,
    nginx: Running,
    plain: u16,
    tls: u16,
    /// The tokens of the sender's and of the viewer's ticket.
    tokens: [String; 2],
    work: tempfile::TempDir,
}

impl Proxied {
    fn start() -> Self {
        let work = directory();
        certificates(work.path());
        let [plain, tls] = [port::free(), port::free()];
        let relay = Program::new(binary("relay-server"))
            .args([
                "--listen",
                "127.0.0.1:0",
                "--http",
                "127.0.0.1:0",
                "--private",
            ])
            .args([
                "--model",
                "none",
                "--http-trust-proxy",
                "127.0.0.1",
                "--report",
                "--state",
            ])
            .args([work.path()])
            .start();
        let tokens = ["pi-sender --server '", "viewer --server '"].map(|start| {
            let line = relay.wait_for_line(start, LONG);
            let ticket = line.split_once("token=").unwrap().1;
            ticket.split_once('#').unwrap().0.to_owned()
        });
        let line = relay.wait_for_line("listening", LONG);
        let mut fields = line.split_whitespace();
        let http = fields.find_map(|field| field.strip_prefix("http=127.0.0.1:"));
        let http = http.unwrap().parse().unwrap();
        let config = work.path().join("nginx.conf");
        fs::write(&config, nginx(work.path(), http, plain, tls)).unwrap();
        let nginx = Program::new("nginx")
            .args(["-e", "stderr", "-p"])
            .args([work.path()])
            .args(["-c"])
            .args([&config])
            .start();
        let deadline = Instant::now() + LONG;
        while std::net::TcpStream::connect(("127.0.0.1", tls)).is_err() {
            assert!(Instant::now() < deadline, "{:?}", nginx.stderr());
            std::thread::sleep(Duration::from_millis(20));
        }
        Self {
            relay,
            nginx,
            plain,
            tls,
            tokens,
            work,
        }
    }

    fn program(&self, name: &str, url: &str, args: &[&str]) -> Running {
        Program::new(binary(name))
            .args(["--server", url, "--report"])
            .args(args)
            .env(
                "SSL_CERT_FILE",
                self.work.path().join("ca.pem").to_str().unwrap(),
            )
            .start()
    }
}

#[test]
fn through_nginx_frames_go_both_ways_by_http_and_by_https() {
    let _alone = alone();
    let Some(_) = tool("nginx").and(tool("openssl")) else {
        return;
    };
    let proxied = Proxied::start();
    let [send, view] = &proxied.tokens;
    for (base, exposed) in [
        (format!("http://127.0.0.1:{}", proxied.plain), true),
        (format!("https://localhost:{}", proxied.tls), false),
    ] {
        let camera = if exposed { "yard" } else { "drive" };
        let sender = proxied.program(
            "pi-sender",
            &format!("{base}?token={send}"),
            &["--source", "demo", "--camera", camera],
        );
        sender.wait_for_line("frames go by HTTP", LONG);
        let viewer = proxied.program(
            "viewer",
            &format!("{base}/?token={view}"),
            &["--headless", "--frames", "20", "--camera", camera],
        );
        let seen = finish(viewer);
        let sent = stop(sender);
        for program in [&seen, &sent] {
            let report = program.report.as_ref().unwrap();
            assert_eq!(report["transport"], "http", "{report}");
            let warned = program
                .stderr
                .contains("shows the token to everything on the path");
            assert_eq!(warned, exposed, "{}", program.stderr);
            assert!(!program.stderr.contains(send) && !program.stderr.contains(view));
        }
        assert_eq!(figure(&seen, "lost"), 0.0);
        assert!(figure(&seen, "age_ms_p50") < 1000.0);
    }
    let url = format!("https://localhost:{}", proxied.tls);
    let refused = proxied
        .program("pi-sender", &url, &["--source", "demo"])
        .finish();
    assert_eq!(refused.status.code(), Some(1), "{}", refused.stderr);
    assert!(
        refused.stderr.contains("this relay is private"),
        "{}",
        refused.stderr
    );
    let stranger = Program::new(binary("pi-sender"))
        .args(["--server", &url, "--source", "demo"])
        .start();
    stranger.wait_for_line("UnknownIssuer", LONG);
    drop(stranger);
    proxied.nginx.terminate();
    stop(proxied.relay);
}
