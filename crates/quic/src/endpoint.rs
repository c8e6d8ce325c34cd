//! QUIC with Sightline's parameters: one set for both ends, and an endpoint for each.

use std::io;
use std::net::UdpSocket;
use std::sync::Arc;
use std::time::Duration;

use platform::udp;
use protocol::MAX_FRAME;
use protocol::quic::{ALPN, MAX_LINE};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{
    AckFrequencyConfig, AsyncUdpSocket, ClientConfig, Endpoint, EndpointConfig, IdleTimeout,
    ServerConfig, TokioRuntime, TransportConfig, VarInt,
};
use quinn_proto::{ConnectionIdGenerator, HashedConnectionIdGenerator};
use ring::hmac;
use rustls::crypto::{CryptoProvider, ring as provider};

use crate::identity::{BadIdentity, CertificateVerifier, Identity};
use crate::path::PathMonitorFactory;

/// The one version of QUIC in use (RFC 9000), as it stands in bytes 1 to 4 of a packet with a long header.
pub const VERSION: u32 = 1;
/// Silence that ends a connection. The first packet that is sent into the silence restarts the timer (RFC 9000, section
/// 10.1), so a lost peer is noticed after this and `KEEP_ALIVE`, and half a second is left to reconnect within 3 s.
pub const IDLE_TIMEOUT: Duration = Duration::from_millis(2000);
/// Longest time without a packet sent, also for the routers on the way.
const KEEP_ALIVE: Duration = Duration::from_millis(500);
/// Assumed round trip before the first is measured. quinn's third of a second suits any path in the world, but then the
/// first lost packet costs a second.
const INITIAL_RTT: Duration = Duration::from_millis(100);
/// Longest delay of an acknowledgement.
const MAX_ACK_DELAY: Duration = Duration::from_millis(5);
/// Unidirectional streams at a time. The frame window has fewer in flight; one more holds detections.
const MAX_STREAMS: u32 = 128;
/// The same for a sender at the relay: what a stream holds in unread bits and pieces is 32 kB.
const SENDER_STREAMS: u32 = 32;
/// Flow-control window of one stream: the largest frame, so that the connection's window alone bounds what is unread.
const STREAM_WINDOW: u32 = MAX_FRAME as u32;
/// Flow-control window of a viewer's connection: at a round trip of 100 ms it lets 160 Mbit/s through.
pub const CONNECTION_WINDOW: u32 = 2 << 20;
/// Flow-control window of a connection that carries no frames to the relay: the longest line.
pub const UNAUTHENTICATED_WINDOW: u32 = MAX_LINE as u32;
/// Bytes that may wait for acknowledgement; the frame window sends no more than 0.4 s of frames.
const SEND_WINDOW: u64 = 8 << 20;

/// Tells QUIC packets of our connections from other datagrams at the relay's port (in the spirit of RFC 9443).
///
/// Only packets that quinn would process are QUIC: a long header of [`VERSION`], or a short one with a connection id
/// that this relay made. The rest goes to the `udp` transport, which counts it by reason.
pub struct PacketFilter {
    key: u64,
    ids: HashedConnectionIdGenerator,
}

impl PacketFilter {
    /// Returns the filter for this relay's own connection ids.
    pub fn new(identity: &Identity) -> Self {
        let mut key = [0; 8];
        key.copy_from_slice(&identity.secret("connection ids")[..8]);
        let key = u64::from_le_bytes(key);
        let ids = HashedConnectionIdGenerator::from_key(key);
        Self { key, ids }
    }

    /// Returns whether a datagram is a QUIC packet.
    pub fn is_quic(&self, datagram: &[u8]) -> bool {
        const LONG: u8 = 0x80;
        const FIXED: u8 = 0x40;
        match datagram {
            [first, version @ ..] if first & LONG != 0 => {
                first & FIXED != 0 && version.starts_with(&VERSION.to_be_bytes())
            }
            [first, rest @ ..] if first & FIXED != 0 => {
                let id = rest.get(..self.ids.cid_len()).map(quinn::ConnectionId::new);
                id.is_some_and(|id| self.ids.validate(&id).is_ok())
            }
            _ => false,
        }
    }
}

/// Returns whether a QUIC packet belongs to a handshake, by its long header: else it is of a connection that is open.
pub fn is_handshake(packet: &[u8]) -> bool {
    packet.first().is_some_and(|first| first & 0x80 != 0)
}

/// Hides the key.
impl std::fmt::Debug for PacketFilter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PacketFilter").finish_non_exhaustive()
    }
}

/// Returns the relay's endpoint, on a socket that receives nothing but QUIC.
///
/// # Errors
/// [`BadIdentity`], or an error of the socket.
pub fn server(socket: Arc<dyn AsyncUdpSocket>, identity: &Identity) -> io::Result<Endpoint> {
    let mut tls = rustls::ServerConfig::builder_with_provider(ring_provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(io::Error::other)?
        .with_no_client_auth()
        .with_single_cert(identity.chain(), identity.private_key())
        .map_err(|err| io::Error::other(BadIdentity(err)))?;
    tls.alpn_protocols = vec![ALPN.to_vec()];
    let tls = QuicServerConfig::try_from(tls).map_err(io::Error::other)?;
    let mut config = ServerConfig::new(Arc::new(tls), Arc::new(identity.token_key()));
    let mut transport = transport();
    transport.receive_window(UNAUTHENTICATED_WINDOW.into());
    transport.max_concurrent_uni_streams(0_u32.into());
    transport.max_concurrent_bidi_streams(1_u32.into());
    config.transport_config(Arc::new(transport));
    let reset = hmac::Key::new(hmac::HMAC_SHA256, &identity.secret("stateless resets"));
    let mut endpoint = endpoint_config(EndpointConfig::new(Arc::new(reset)));
    let key = PacketFilter::new(identity).key;
    endpoint.cid_generator(move || Box::new(HashedConnectionIdGenerator::from_key(key)));
    Endpoint::new_with_abstract_socket(endpoint, Some(config), socket, Arc::new(TokioRuntime))
}

/// Lets a peer whose hello was accepted send frames, so many bytes before they are read.
pub fn widen_windows(connection: &quinn::Connection, bytes: usize) {
    let window = u32::try_from(bytes).unwrap_or(CONNECTION_WINDOW);
    connection.set_receive_window(window.into());
    connection.set_max_concurrent_uni_streams(SENDER_STREAMS.into());
}

/// Returns a peer's endpoint.
pub(crate) fn client(socket: UdpSocket) -> io::Result<Endpoint> {
    let config = endpoint_config(EndpointConfig::default());
    // The same socket as the endpoint's, which asks for joined datagrams when it is made.
    let same = socket.try_clone()?;
    let endpoint = Endpoint::new(config, None, socket, Arc::new(TokioRuntime))?;
    udp::separate_datagrams(&same)?;
    Ok(endpoint)
}

/// Returns a peer's configuration, with the verifier of the relay's certificate.
pub(crate) fn client_config(verifier: Arc<CertificateVerifier>) -> io::Result<ClientConfig> {
    let mut tls = rustls::ClientConfig::builder_with_provider(ring_provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    tls.alpn_protocols = vec![ALPN.to_vec()];
    let tls = QuicClientConfig::try_from(tls).map_err(io::Error::other)?;
    let mut config = ClientConfig::new(Arc::new(tls));
    let mut transport = transport();
    transport.receive_window(CONNECTION_WINDOW.into());
    transport.max_concurrent_uni_streams(MAX_STREAMS.into());
    transport.max_concurrent_bidi_streams(0_u32.into());
    config.transport_config(Arc::new(transport));
    Ok(config)
}

pub(crate) fn ring_provider() -> Arc<CryptoProvider> {
    Arc::new(provider::default_provider())
}

fn endpoint_config(mut config: EndpointConfig) -> EndpointConfig {
    // `PacketFilter` would not recognise packets with a cleared fixed bit.
    config.grease_quic_bit(false);
    config.supported_versions(vec![VERSION]);
    config
}

fn transport() -> TransportConfig {
    let idle = VarInt::from_u32(IDLE_TIMEOUT.as_millis() as u32);
    let mut transport = TransportConfig::default();
    transport
        .max_idle_timeout(Some(IdleTimeout::from(idle)))
        .keep_alive_interval(Some(KEEP_ALIVE))
        .initial_rtt(INITIAL_RTT)
        .stream_receive_window(STREAM_WINDOW.into())
        .send_window(SEND_WINDOW)
        .ack_frequency_config(Some(acknowledgements()))
        // Datagrams only probe the path; none is read.
        .datagram_receive_buffer_size(Some(64))
        .congestion_controller_factory(Arc::new(PathMonitorFactory));
    transport
}

/// Makes the other end acknowledge sooner than by default (25 ms), since a loss that is known sooner is repaired
/// sooner.
fn acknowledgements() -> AckFrequencyConfig {
    let mut config = AckFrequencyConfig::default();
    config.max_ack_delay(Some(MAX_ACK_DELAY));
    config
}

#[cfg(test)]
mod tests {
    use nix::sys::socket::{getsockopt, sockopt::UdpGroSegment};

    use super::*;

    #[tokio::test]
    async fn the_kernel_hands_over_one_datagram_at_a_time_to_a_client() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        let same = socket.try_clone().unwrap();
        let _endpoint = client(socket).unwrap();
        assert_eq!(getsockopt(&same, UdpGroSegment), Ok(false));
    }

    fn filter() -> PacketFilter {
        PacketFilter::new(&Identity::generate().unwrap())
    }

    #[test]
    fn what_the_tutorial_or_a_stranger_sends_is_not_quic() {
        let filter = filter();
        let png = b"\x89PNG\r\n\x1a\n".as_slice();
        let garbage = [0x55; 1200];
        for plain in [
            b"Request",
            &[0xFF, 0xD8, 0xFF, 0xE0][..],
            png,
            &garbage,
            &[],
            b"\x05",
            &[0xC0],
        ] {
            assert!(!filter.is_quic(plain), "{plain:02x?}");
        }
        for first in 0..=0x3F {
            assert!(!filter.is_quic(&[first; 100]), "{first:02x}");
        }
    }

    #[test]
    fn only_version_one_and_only_our_own_connection_ids_are_quic() {
        let mut filter = filter();
        assert!(filter.is_quic(&[0xC3, 0, 0, 0, 1, 8]));
        assert!(!filter.is_quic(&[0xC3, 0, 0, 0, 2, 8]));
        assert!(!filter.is_quic(&[0x83, 0, 0, 0, 1, 8]), "greased");
        let mut short = vec![0x4A];
        short.extend_from_slice(&filter.ids.generate_cid());
        assert!(filter.is_quic(&short));
        assert!(!self::filter().is_quic(&short), "another relay's");
    }
}
