//! The slots of QUIC connections when there are more peers than slots.

mod common {
    pub(crate) mod process;
    pub(crate) mod quic;
}

use std::net::{Ipv6Addr, SocketAddr};

use common::process::{SOON, stop};
use common::quic::{frame, hello, open, start_at};
use protocol::quic::Role;
use quic::client::Client;
use tokio::time::timeout;

const SLOTS: usize = 1024;

/// One host comes by IPv4 and the other by IPv6.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_holds_all_slots_gives_one_up_to_the_camera_of_another() {
    let (relay, at) = start_at("[::]:0", &[]);
    let [greedy, honest] = [
        SocketAddr::from(([127, 0, 0, 1], at.port())),
        SocketAddr::from((Ipv6Addr::LOCALHOST, at.port())),
    ];
    let mut client = Client::new(greedy, None).unwrap();
    let view = hello(Role::View, None, None);
    let mut sessions = Vec::new();
    for _ in 0..SLOTS {
        sessions.push(client.open(greedy, &view).await.unwrap());
    }
    let one_more = client.open(greedy, &view).await.unwrap_err();
    assert!(one_more.is_temporary(), "{one_more}");
    let send = hello(Role::Send, Some("yard"), None);
    let camera = open(honest, &send, None).await.unwrap();
    let youngest = sessions.pop().unwrap().connection;
    let end = timeout(SOON, youngest.closed()).await.unwrap();
    assert!(end.to_string().contains("full"), "{end}");
    assert!(sessions[0].connection.close_reason().is_none());
    let mut stream = camera.connection.open_uni().await.unwrap();
    stream.write_all(&frame("yard", 1, 0)).await.unwrap();
    stream.finish().unwrap();
    relay.wait_for_line("sender joined by QUIC", SOON);
    drop(sessions);
    stop(relay);
}
