//! What the log says at the start: where the relay listens, what an operator should know, and the tickets.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::pin::pin;
use std::time::Duration;

use platform::udp;
use protocol::ticket::Host;
use tokio::time::sleep;
use tracing::{info, warn};
use vision::detect::Model;

use crate::access::Access;
use crate::args::{Advertise, Args, ModelChoice};
use crate::transport::port::SharedUdpSocket;

/// Time after which a model that is not loaded yet is logged: most are by then, and the log begins with `listening`.
const SLOW_LOAD: Duration = Duration::from_secs(1);

/// Waits until the model is loaded, and logs which one it is if that takes long.
pub(crate) async fn if_slow<T>(loading: impl Future<Output = T>, model: Option<&Model>) -> T {
    let notice = || match model {
        Some(Model::File(file)) => {
            let mb = file.metadata().map(|found| megabytes(found.len()));
            let mb = mb.ok();
            info!(file = %file.display(), mb, "loading the model");
        }
        Some(Model::Demo) => info!("loading the demo model"),
        None => {}
    };
    if_slower_than(SLOW_LOAD, loading, notice).await
}

/// Waits for a future, and calls `notice` if it takes longer than this.
async fn if_slower_than<T>(
    time: Duration,
    future: impl Future<Output = T>,
    notice: impl FnOnce(),
) -> T {
    let mut future = pin!(future);
    tokio::select! {
        biased;
        value = &mut future => return value,
        () = sleep(time) => notice(),
    }
    future.await
}

/// Returns megabytes, to a tenth.
fn megabytes(bytes: u64) -> f64 {
    (bytes as f64 / 1e5).round() / 10.0
}

/// Logs that the relay is ready, and where.
pub(crate) fn listening(
    args: &Args,
    port: &SharedUdpSocket,
    http: Option<SocketAddr>,
    model: &str,
) {
    let http = http.map_or_else(|| "off".to_owned(), |http| http.to_string());
    info!(addr = %port.local(), %http, %model, every = %args.every, "listening");
}

/// Logs what an operator should know at the start.
pub(crate) fn advice(args: &Args, port: &SharedUdpSocket, model: Option<&Model>) {
    if let (None, Some(Model::File(file))) = (&args.model, model) {
        let file = file.display();
        info!(%file, "a model was found and is used; --model names another, or demo, or none");
    }
    if args.advertise.is_some() && !args.private {
        warn!(
            "--advertise names the host in tickets, and only --private makes tickets: it has no effect"
        );
    }
    if !args.private && !args.listen.ip().is_loopback() {
        warn!(
            "open to all: any peer that reaches UDP port {} can watch, and send; --private lets in only peers with a ticket",
            port.local().port()
        );
    }
    if args.model == Some(ModelChoice::None) && args.detections.is_some() {
        warn!("--model none finds nothing, so nothing will be written for --detections");
    }
    if port.receive_buffer < udp::SMALL_BUFFER {
        warn!(
            granted = port.receive_buffer,
            "the kernel grants a small receive buffer, so bursts of large frames may be lost; sysctl -w net.core.rmem_max={} cures it",
            udp::RECEIVE_BUFFER
        );
    }
}

/// Logs the tickets of a private relay, ready to paste.
pub(crate) fn tickets(args: &Args, access: &Access, local: SocketAddr, http: Option<SocketAddr>) {
    let host = match &args.advertise {
        Some(Advertise {
            host,
            port_given: true,
        }) => host.clone(),
        Some(Advertise {
            host,
            port_given: false,
        }) => host.clone().at(local.port()),
        None => own_host(local),
    };
    let Some((send, view)) = access.tickets(&host) else {
        return;
    };
    info!("private; the two tickets, to be kept like passwords:");
    info!("pi-sender --server '{send}'");
    info!("viewer --server '{view}'");
    if let Some(http) = http {
        let page = match http.ip().is_unspecified() {
            true => host.at(http.port()).to_string(),
            false => http.to_string(),
        };
        info!(
            "a browser that reaches the HTTP server: 'http://{page}/?token={}'",
            view.token
        );
    }
    if args.advertise.is_none() {
        info!(
            "the host in them is this machine's own address; --advertise HOST names another, as a machine behind NAT needs"
        );
    }
}

/// Returns where this machine may be found: the address that it listens on, else the one from which it sends to others.
fn own_host(local: SocketAddr) -> Host {
    let route = || -> std::io::Result<SocketAddr> {
        let probe = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        // Documentation's address (RFC 5737): connecting a UDP socket chooses a route and sends nothing.
        probe.connect((Ipv4Addr::new(192, 0, 2, 1), 9))?;
        probe.local_addr()
    };
    let ip = match local.ip() {
        ip if !ip.is_unspecified() => ip,
        _ => route().map_or(Ipv4Addr::LOCALHOST.into(), |address| address.ip()),
    };
    let address = SocketAddr::new(ip, local.port()).to_string();
    address.parse().expect("an address is a host")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_model_is_named_while_it_loads_if_that_takes_long() {
        let (noticed, loaded) = tokio::sync::oneshot::channel();
        // It is loaded when the notice has come, and never without.
        let slow = if_slower_than(Duration::ZERO, loaded, || noticed.send(7).unwrap());
        assert_eq!(slow.await, Ok(7));
        let fast = if_slower_than(Duration::ZERO, async { 7 }, || panic!("it is loaded"));
        assert_eq!(fast.await, 7);
        assert_eq!(megabytes(1_449_999), 1.4);
    }
}
