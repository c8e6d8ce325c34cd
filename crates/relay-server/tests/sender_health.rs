//! What a sender reports of its machine, where an operator looks: `/api/cameras` and `/metrics`.

#![expect(
    clippy::unwrap_used,
    reason = "a test's helpers, too, fail by panicking"
)]

mod common {
    pub(crate) mod http;
    pub(crate) mod process;
    pub(crate) mod quic;
}

use std::time::Instant;

use common::http::HttpRelay;
use common::process::{MS, SOON};
use common::quic::{SteadyFrames, send, sender};
use protocol::quic::{ClientMessage, from_line};
use quic::client::ControlEvent;
use serde_json::{Value, json};
use tokio::time::sleep;

/// Returns the yard as `/api/cameras` lists it.
fn yard(relay: &HttpRelay) -> Value {
    let cameras: Value = serde_json::from_str(&relay.get("/api/cameras").body()).unwrap();
    let cameras = cameras.as_array().unwrap();
    let yard = cameras.iter().find(|camera| camera["name"] == "yard");
    yard.cloned().unwrap_or_default()
}

/// Waits until the yard's temperature is this.
async fn until_temperature(relay: &HttpRelay, wanted: &Value) {
    let deadline = Instant::now() + SOON;
    while yard(relay)["temperature_c"] != *wanted {
        assert!(Instant::now() < deadline, "{}", yard(relay));
        sleep(20 * MS).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_senders_health_is_listed_while_its_camera_is_live_and_no_longer() {
    let relay = HttpRelay::start(&[]);
    let mut session = sender(relay.running.listening(), "yard").await;
    send(&session, SteadyFrames::new("yard", 0, 50, 3)).await;
    let line = br#"{"facts":{"health":{"temperature_c":61.4,"throttled":false,"undervoltage":true,"wifi_dbm":-67,
        "version":"0.2.0"}}}"#;
    let message: ClientMessage = from_line(line).unwrap();
    session.control.send(&message).await.unwrap();
    until_temperature(&relay, &json!(61.4)).await;
    let listed = yard(&relay);
    for (key, value) in [
        ("throttled", json!(false)),
        ("undervoltage", json!(true)),
        ("wifi_dbm", json!(-67)),
        ("version", json!("0.2.0")),
        ("width", json!(300)),
    ] {
        assert_eq!(listed[key], value, "{key}");
    }
    assert!(listed.get("throttled_since_boot").is_none(), "{listed}");
    let metrics = relay.get("/metrics").body();
    for line in [
        r#"sightline_sender_temperature_celsius{camera="yard"} 61.4"#,
        r#"sightline_sender_throttled{camera="yard"} 0"#,
        r#"sightline_sender_undervoltage{camera="yard"} 1"#,
        r#"sightline_sender_wifi_dbm{camera="yard"} -67"#,
        r#"sightline_sender_info{camera="yard",version="0.2.0"} 1"#,
    ] {
        assert!(metrics.contains(line), "{line} is missing in {metrics}");
    }
    // What comes while no frame does is not shown either.
    until_temperature(&relay, &Value::Null).await;
    session.control.send(&message).await.unwrap();
    // The answer to a ping comes behind it.
    while !matches!(
        session.control.next().await.unwrap(),
        ControlEvent::Offset(_)
    ) {}
    sleep(100 * MS).await;
    assert_eq!(yard(&relay)["live"], false);
    assert_eq!(yard(&relay)["temperature_c"], Value::Null);
    let deadline = Instant::now() + SOON;
    while relay.get("/metrics").body().contains("sightline_sender_") {
        assert!(Instant::now() < deadline);
        sleep(100 * MS).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_sender_of_a_camera_does_not_inherit_its_health() {
    let mut relay = HttpRelay::start(&[]);
    let mut session = sender(relay.running.listening(), "yard").await;
    send(&session, SteadyFrames::new("yard", 0, 50, 3)).await;
    let hot = br#"{"facts":{"health":{"temperature_c":80.5}}}"#;
    let message: ClientMessage = from_line(hot).unwrap();
    session.control.send(&message).await.unwrap();
    until_temperature(&relay, &json!(80.5)).await;
    drop(session);
    let deadline = Instant::now() + SOON;
    while yard(&relay)["live"] == true {
        assert!(Instant::now() < deadline);
        sleep(50 * MS).await;
    }
    while yard(&relay)["live"] == false {
        relay.send_frame("yard", 0);
        assert!(Instant::now() < deadline);
        sleep(50 * MS).await;
    }
    assert_eq!(yard(&relay)["temperature_c"], Value::Null);
}
