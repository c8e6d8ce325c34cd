//! What the log says at the start: where the relay listens, what an operator should know, and the tickets.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

use platform::udp;
use protocol::ticket::Host;
use tracing::{info, warn};
use vision::detect::Model;

use crate::access::Access;
use crate::args::{Advertise, Args, ModelChoice};
use crate::transport::port::SharedUdpSocket;

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
