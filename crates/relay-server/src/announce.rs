//! What the log says at the start: where the relay listens, what an operator should know, and the tickets.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::pin::pin;
use std::time::Duration;

use platform::udp;
use protocol::quic::Role;
use protocol::ticket::Host;
use tokio::time::sleep;
use tracing::{info, warn};
use vision::detect::Model;

use crate::access::{Access, MadeTicket};
use crate::args::{Advertise, Args, HttpUrl, ModelChoice};
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

/// Logs the tickets that a private relay has just made, ready to paste; else where the tickets in force are listed.
pub(crate) fn tickets(
    args: &Args,
    access: &Access,
    made: &[MadeTicket],
    local: SocketAddr,
    http: Option<SocketAddr>,
) {
    let Some(count) = access.ticket_count() else {
        return;
    };
    if made.is_empty() {
        return info!(
            tickets = count,
            "private; relay-server ticket list shows the tickets in force, and relay-server ticket add makes one"
        );
    }
    let host = advertised_host(args.advertise.as_ref(), local);
    info!("private; these tickets are new and shown this once, to be kept like passwords:");
    for ticket in made {
        let shown = ticket.ticket(&host, access.identity.fingerprint());
        match ticket.role {
            Role::Send => info!("pi-sender --server '{shown}'"),
            Role::View => info!("viewer --server '{shown}'"),
        }
    }
    let page = page_address(args, &host, http);
    let viewers = made.iter().find(|ticket| ticket.role == Role::View);
    if let (Some(page), Some(viewers)) = (page, viewers) {
        info!(
            "a browser that reaches the HTTP server: '{page}/#token={}'",
            viewers.token
        );
    }
    info!("relay-server ticket add makes one for each further person or camera");
    if args.advertise.is_none() {
        info!(
            "the host in them is this machine's own address; --advertise HOST names another, as a machine behind NAT needs"
        );
    }
}

/// Returns the host in tickets, with the UDP port of this relay unless `--advertise` names another.
pub(crate) fn advertised_host(advertise: Option<&Advertise>, local: SocketAddr) -> Host {
    match advertise {
        Some(Advertise {
            host,
            port_given: true,
        }) => host.clone(),
        Some(Advertise {
            host,
            port_given: false,
        }) => host.clone().at(local.port()),
        None => own_host(local),
    }
}

/// Returns the page's address as browsers reach it, without a slash at its end; `None` without an HTTP server.
pub(crate) fn page_address(args: &Args, host: &Host, http: Option<SocketAddr>) -> Option<String> {
    if let Some(HttpUrl(url)) = &args.http_url {
        return Some(url.clone());
    }
    let http = http?;
    Some(match http.ip().is_unspecified() {
        true => format!("http://{}", host.clone().at(http.port())),
        false => format!("http://{http}"),
    })
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
