//! The HTTP server against plain sockets: what a browser and other software get at each path, and who is refused.

mod common {
    pub(crate) mod http;
    pub(crate) mod process;
}

use std::net::TcpListener;
use std::thread;
use std::time::Instant;

use common::http::{HttpRelay, seq};
use common::process::{MS, RELAY, SOON};
use serde_json::Value;
use testkit::process::Program;

#[test]
fn a_camera_that_never_was_is_not_found_and_those_that_are_are_named() {
    let relay = HttpRelay::with_camera("front yard", &[]);
    for what in ["stream.mjpg", "snapshot.jpg", "detections"] {
        let answer = relay.get(&format!("/cam/yard/{what}"));
        assert_eq!(answer.status, 404, "{what}");
        assert!(answer.body().contains("these are: front yard"), "{what}");
    }
    assert_eq!(relay.try_socket("/cam/yard/ws", &[]).unwrap_err(), 404);
    assert_eq!(relay.get("/cam/front%20yard/snapshot.jpg").status, 200);
}

#[test]
fn other_software_finds_the_first_live_camera_where_it_looks() {
    let mut relay = HttpRelay::start(&[]);
    let streams = [
        "/stream.mjpg",
        "/stream",
        "/?action=stream",
        "/stream?boxes=1",
    ];
    let snapshots = [
        "/snapshot.jpg",
        "/snapshot",
        "/?action=snapshot",
        "/snapshot?boxes=1",
    ];
    for path in streams.into_iter().chain(snapshots) {
        let answer = relay.get(path);
        assert_eq!(answer.status, 503, "{path}");
        assert!(answer.body().contains("no camera has appeared yet"));
    }
    while relay.get("/readyz").status != 200 {
        relay.send_frame("yard", 0);
    }
    let sent = relay.send_frame("yard", 0);
    for path in streams {
        let mut stream = relay.stream(path);
        assert_eq!(stream.0.status, 200, "{path}");
        stream.boundary();
        // With boxes, of which there are none here, from the next frame on.
        let sent = if path.contains("boxes") {
            relay.send_frame("yard", 0)
        } else {
            sent.clone()
        };
        assert_eq!(stream.seq(), seq(&sent), "{path}");
    }
    let sent = relay.send_frame("yard", 0);
    for path in &snapshots[..3] {
        let answer = relay.get(path);
        assert_eq!(answer.header("content-type"), Some("image/jpeg"), "{path}");
        assert_eq!(answer.header("x-timestamp").unwrap()[..10], *"1700000000");
        assert!(answer.bytes() == sent, "{path}");
    }
    assert_eq!(relay.get("/?action=reboot").status, 400);
}

#[test]
fn cameras_are_listed_with_what_is_known_of_them() {
    let mut relay = HttpRelay::start(&[]);
    assert_eq!(relay.get("/api/cameras").body(), "[]");
    for _ in 0..20 {
        relay.send_frame("yard", 0);
        thread::sleep(50 * MS);
    }
    let answer = relay.get("/api/cameras");
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let cameras: Value = serde_json::from_str(&answer.body()).unwrap();
    let [camera] = cameras.as_array().unwrap().as_slice() else {
        panic!("{cameras}")
    };
    assert_eq!(
        (&camera["name"], &camera["live"]),
        (&"yard".into(), &true.into())
    );
    assert_eq!(
        (&camera["width"], &camera["height"]),
        (&300.into(), &200.into())
    );
    assert!(
        (10.0..25.0).contains(&camera["fps"].as_f64().unwrap()),
        "{camera}"
    );
    assert!(camera["age_ms"].as_u64().unwrap() < 3000, "{camera}");
}

#[test]
fn what_comes_in_place_of_pictures_is_why_nothing_is_ready() {
    let relay = HttpRelay::start(&[]);
    let packet = [&[0x47][..], &[1; 187]].concat();
    let deadline = Instant::now() + SOON;
    let why = loop {
        relay.camera.send(&packet.repeat(7)).unwrap();
        let why = relay.get("/readyz").body();
        if why != "no camera is live\n" {
            break why;
        }
        assert!(Instant::now() < deadline);
    };
    assert!(
        why.starts_with("no camera is live: the relay receives an MPEG transport stream"),
        "{why}"
    );
    assert!(why.contains("-c:v mjpeg"), "{why}");
}

#[test]
fn alive_is_not_yet_ready() {
    let mut relay = HttpRelay::start(&[]);
    assert_eq!(relay.get("/healthz").status, 200);
    let unready = relay.get("/readyz");
    assert_eq!(unready.status, 503);
    assert_eq!(unready.body(), "no camera is live\n");
    while relay.get("/readyz").status != 200 {
        relay.send_frame("yard", 0);
    }
    let deadline = Instant::now() + SOON;
    while relay.get("/readyz").status == 200 {
        assert!(Instant::now() < deadline);
        thread::sleep(50 * MS);
    }
}

#[test]
fn the_page_is_whole_and_runs_nothing_else() {
    let relay = HttpRelay::start(&[]);
    let answer = relay.get("/?camera=yard");
    assert_eq!(
        answer.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    assert_eq!(answer.header("referrer-policy"), Some("no-referrer"));
    let policy = answer.header("content-security-policy").unwrap().to_owned();
    let nonce = policy.split('\'').find(|word| word.starts_with("nonce-"));
    let nonce = nonce.unwrap().strip_prefix("nonce-").unwrap().to_owned();
    assert!(
        policy.starts_with("default-src 'none'") && !policy.contains("unsafe"),
        "{policy}"
    );
    let page = answer.body();
    assert!(page.contains(&format!("<script nonce=\"{nonce}\">")));
    for forbidden in ["http://", "https://", "src=\"", "innerHTML", "eval("] {
        assert!(!page.contains(forbidden), "{forbidden}");
    }
    assert_ne!(
        relay.get("/").header("content-security-policy"),
        Some(policy.as_str())
    );
    let head = relay.request("HEAD", "/", &[]);
    assert_eq!(
        (head.status, head.header("content-length").is_some()),
        (200, true)
    );
    assert_eq!(relay.get("/nothing").status, 404);
}

#[test]
fn a_private_relay_asks_for_the_viewers_token_at_every_path_but_one() {
    let mut relay = HttpRelay::start(&["--private"]);
    let tokens: Vec<String> = ["pi-sender --server", "viewer --server"]
        .iter()
        .map(|line| {
            let line = relay.running.wait_for_line(line, SOON);
            let (_, rest) = line.split_once("token=").unwrap();
            rest[..64].to_owned()
        })
        .collect();
    let [send, view] = tokens.as_slice() else {
        panic!()
    };
    relay
        .running
        .wait_for_line(&format!("/#token={view}"), SOON);
    relay.send_frame("yard", 0);
    let paths = [
        "/",
        "/api/cameras",
        "/readyz",
        "/stream",
        "/snapshot",
        "/cam/yard/ws",
        "/cam/yard/stream.mjpg",
        "/metrics",
        "/cam/yard/snapshot.jpg",
        "/cam/yard/detections",
        "/nothing",
        "/%2e%2e/healthz",
        "//healthz",
        "/healthz/",
    ];
    paths
        .iter()
        .for_each(|path| only_the_viewers_token_opens(&relay, path, send, view));
    assert_eq!(relay.get("/healthz").status, 200);
    assert_eq!(relay.try_socket("/cam/yard/ws", &[]).unwrap_err(), 401);
    let with = relay.try_socket(&format!("/cam/yard/ws?token={view}"), &[]);
    assert_eq!(with.unwrap_err(), 404, "no camera sends");
    let log = relay.stop().stderr;
    assert!(
        !log.lines()
            .any(|line| line.contains("DEBUG") && line.contains(view))
    );
}

/// Checks that a path refuses a request without a token, with a wrong one and with the sender's, and only those.
fn only_the_viewers_token_opens(relay: &HttpRelay, path: &str, sender: &str, viewer: &str) {
    let bearer = |scheme: &str, token: &str| {
        let value = format!("{scheme} {token}");
        relay
            .request("GET", path, &[("authorization", &value)])
            .status
    };
    let without = relay.get(path);
    assert_eq!(without.status, 401, "{path}");
    assert_eq!(without.header("www-authenticate"), Some("Bearer"));
    assert_eq!(bearer("Bearer", &"0".repeat(64)), 401, "{path}");
    assert_eq!(bearer("Bearer", sender), 403, "{path}");
    let in_query = |token: &str| relay.get(&format!("{path}?token={token}")).status;
    assert_eq!(in_query(sender), 403, "{path}");
    for status in [bearer("bearer", viewer), in_query(viewer)] {
        assert!(![401, 403].contains(&status), "{path}: {status}");
    }
}

#[test]
fn a_name_that_is_not_the_relays_and_pages_of_others_are_turned_away() {
    let relay = HttpRelay::with_camera("yard", &[]);
    for (host, status) in [
        ("localhost", 200),
        ("evil.example", 421),
        ("evil.example:8080", 421),
    ] {
        assert_eq!(
            relay
                .request("GET", "/api/cameras", &[("host", host)])
                .status,
            status,
            "{host}"
        );
    }
    let here = format!("http://{}", relay.http);
    assert!(
        relay
            .try_socket("/cam/yard/ws", &[("origin", &here)])
            .is_ok()
    );
    let evil = relay.try_socket("/cam/yard/ws", &[("origin", "http://evil.example")]);
    assert_eq!(evil.unwrap_err(), 403);
    let allowed = |relay: &HttpRelay, origin| {
        let answer = relay.request("GET", "/api/cameras", &[("origin", origin)]);
        answer
            .header("access-control-allow-origin")
            .map(str::to_owned)
    };
    assert_eq!(allowed(&relay, "http://evil.example"), None);
    let page = relay.get("/");
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.ends_with("frame-ancestors 'self'"), "{policy}");
    let relay = HttpRelay::with_camera(
        "yard",
        &["--http-origin", "https://cam.example,http://nas:8123"],
    );
    let cam = "https://cam.example";
    assert_eq!(allowed(&relay, cam).as_deref(), Some(cam));
    assert_eq!(allowed(&relay, "http://evil.example"), None);
    assert!(relay.try_socket("/cam/yard/ws", &[("origin", cam)]).is_ok());
    assert_eq!(
        relay.request("GET", "/", &[("host", "cam.example")]).status,
        200
    );
    let page = relay.get("/");
    let policy = page.header("content-security-policy").unwrap();
    let framed_by = "frame-ancestors 'self' https://cam.example http://nas:8123";
    assert!(policy.ends_with(framed_by), "{policy}");
    let preflight = relay.request("OPTIONS", "/api/cameras", &[("origin", cam)]);
    assert_eq!(
        (
            preflight.status,
            preflight.header("access-control-allow-origin")
        ),
        (204, Some(cam))
    );
}

/// Returns the log of a relay that starts while this test, or another process for all of that time, has the default port.
fn with_the_default_port_busy(start: impl Fn() -> Vec<String>) -> Vec<String> {
    let deadline = Instant::now() + SOON;
    loop {
        let held = TcpListener::bind("127.0.0.1:8080");
        let log = start();
        let was_free = log.iter().any(|line| line.contains("http=127.0.0.1:8080"));
        // The relay of another test had the port, and released it.
        if held.is_ok() || !was_free {
            return log;
        }
        assert!(Instant::now() < deadline, "{log:?}");
    }
}

#[test]
fn a_busy_port_is_an_error_where_it_was_asked_for_and_a_warning_where_not() {
    let busy = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = busy.local_addr().unwrap().to_string();
    let start = |flags: &[&str]| {
        Program::new(RELAY)
            .args(["--listen", "127.0.0.1:0", "--model", "none"])
            .args(flags)
            .start()
    };
    let with_flag = start(&["--http", &address]).finish();
    assert_eq!(with_flag.status.code(), Some(1), "{}", with_flag.stderr);
    for text in ["in use", &address, "--http"] {
        assert!(with_flag.stderr.contains(text), "{}", with_flag.stderr);
    }
    let log = with_the_default_port_busy(|| {
        let without_flag = start(&[]);
        without_flag.wait_for_line("listening", SOON);
        without_flag.stderr()
    });
    let warning = log.iter().find(|line| line.contains("WARN")).unwrap();
    assert!(
        warning.contains("127.0.0.1:8080") && warning.contains("--http"),
        "{warning}"
    );
    let listening = log.iter().find(|line| line.contains("listening"));
    assert!(listening.unwrap().contains("http=off"), "{log:?}");
    let off = start(&["--http", "off"]);
    assert!(off.wait_for_line("listening", SOON).contains("http=off"));
}
