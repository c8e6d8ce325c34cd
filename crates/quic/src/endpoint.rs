//! QUIC as Sightline speaks it: one set of parameters for both ends, and an endpoint for each.

use std::io;
use std::net::UdpSocket;
use std::sync::Arc;
use std::time::Duration;

use protocol::datagram::MAX_DATAGRAM;
use protocol::quic::ALPN;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{
    AckFrequencyConfig, AsyncUdpSocket, ClientConfig, Endpoint, EndpointConfig, IdleTimeout,
    ServerConfig, TokioRuntime, TransportConfig, VarInt,
};
use quinn_proto::{ConnectionIdGenerator, HashedConnectionIdGenerator};
use ring::hmac;
use rustls::crypto::{CryptoProvider, ring as provider};

use crate::identity::{BadIdentity, Identity, Trust};
use crate::path::Fixed;

/// The one version of QUIC that is spoken (RFC 9000), as it stands in bytes 1 to 4 of a packet with a long header.
pub const VERSION: u32 = 1;
/// Silence that ends a connection. The first word that is said into it starts it anew (RFC 9000, section 10.1), so a peer
/// that is gone is noticed after this and `KEEP_ALIVE`, and half a second is left to be connected again within 3 s.
pub const IDLE_TIMEOUT: Duration = Duration::from_millis(2000);
/// Something is said at least this often, also for the routers on the way.
const KEEP_ALIVE: Duration = Duration::from_millis(500);
/// Before the first round trip is known. quinn's third of a second is made for any path in the world, and the first
/// packet that is lost then costs a second.
const FIRST_RTT: Duration = Duration::from_millis(100);
/// Longest wait of an acknowledgement for company.
const ACKNOWLEDGE: Duration = Duration::from_millis(5);
/// Streams of frames at a time. The gate has fewer in flight; one more holds detections.
pub(crate) const STREAMS: u32 = 128;
/// What may be on its way on one stream, and on all of a connection: a frame, and as many as are read at a time.
const STREAM_WINDOW: u32 = 2 * MAX_DATAGRAM as u32;
const WINDOW: u32 = 32 * MAX_DATAGRAM as u32;
/// And before the hello is answered: a few lines.
pub const UNAUTHENTICATED_WINDOW: u32 = 16 << 10;
/// What may wait for acknowledgement; the gate lets no more out than 0.4 s of frames.
const SEND_WINDOW: u64 = 8 << 20;

/// Tells datagrams of our connections from anything else that comes to the relay's port (RFC 9443 in spirit).
///
/// Only what quinn would act upon is QUIC: a long header of [`VERSION`], or a short one with a connection id that this
/// relay made. What is left is the plain door's, which counts it by reason.
pub struct PacketFilter {
    key: u64,
    ids: HashedConnectionIdGenerator,
}

impl PacketFilter {
    /// For a relay's own connection ids.
    pub fn new(identity: &Identity) -> Self {
        let mut key = [0; 8];
        key.copy_from_slice(&identity.secret("connection ids")[..8]);
        let key = u64::from_le_bytes(key);
        let ids = HashedConnectionIdGenerator::from_key(key);
        Self { key, ids }
    }

    /// Whether a datagram is QUIC's.
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

/// Its key is a secret.
impl std::fmt::Debug for PacketFilter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recognition").finish_non_exhaustive()
    }
}

/// The relay's end, on a socket that shows it nothing but QUIC.
///
/// # Errors
/// [`BadIdentity`], or the socket's own.
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

/// Lets a peer that has said the right hello send frames.
pub fn widen_windows(connection: &quinn::Connection) {
    connection.set_receive_window(WINDOW.into());
    connection.set_max_concurrent_uni_streams(STREAMS.into());
}

/// A peer's end.
pub(crate) fn client(socket: UdpSocket) -> io::Result<Endpoint> {
    let config = endpoint_config(EndpointConfig::default());
    Endpoint::new(config, None, socket, Arc::new(TokioRuntime))
}

/// How a peer connects, and to whom.
pub(crate) fn client_config(trust: Arc<Trust>) -> io::Result<ClientConfig> {
    let mut tls = rustls::ClientConfig::builder_with_provider(ring_provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(trust)
        .with_no_client_auth();
    tls.alpn_protocols = vec![ALPN.to_vec()];
    let tls = QuicClientConfig::try_from(tls).map_err(io::Error::other)?;
    let mut config = ClientConfig::new(Arc::new(tls));
    let mut transport = transport();
    transport.receive_window(WINDOW.into());
    transport.max_concurrent_uni_streams(STREAMS.into());
    transport.max_concurrent_bidi_streams(0_u32.into());
    config.transport_config(Arc::new(transport));
    Ok(config)
}

pub(crate) fn ring_provider() -> Arc<CryptoProvider> {
    Arc::new(provider::default_provider())
}

fn endpoint_config(mut config: EndpointConfig) -> EndpointConfig {
    // A cleared fixed bit would make QUIC look like something else to `Recognition`.
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
        .initial_rtt(FIRST_RTT)
        .stream_receive_window(STREAM_WINDOW.into())
        .send_window(SEND_WINDOW)
        .ack_frequency_config(Some(acknowledgements()))
        // Datagrams only probe the path; nobody reads them.
        .datagram_receive_buffer_size(Some(64))
        .congestion_controller_factory(Arc::new(Fixed));
    transport
}

/// The other end acknowledges sooner than by default (25 ms): the sooner a loss is known, the sooner it is made good.
fn acknowledgements() -> AckFrequencyConfig {
    let mut config = AckFrequencyConfig::default();
    config.max_ack_delay(Some(ACKNOWLEDGE));
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recognition() -> PacketFilter {
        PacketFilter::new(&Identity::generate().unwrap())
    }

    #[test]
    fn what_the_tutorial_or_a_stranger_sends_is_not_quic() {
        let recognition = recognition();
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
            assert!(!recognition.is_quic(plain), "{plain:02x?}");
        }
        for first in 0..=0x3F {
            assert!(!recognition.is_quic(&[first; 100]), "{first:02x}");
        }
    }

    #[test]
    fn only_version_one_and_only_our_own_connection_ids_are_quic() {
        let mut recognition = recognition();
        assert!(recognition.is_quic(&[0xC3, 0, 0, 0, 1, 8]));
        assert!(!recognition.is_quic(&[0xC3, 0, 0, 0, 2, 8]));
        assert!(!recognition.is_quic(&[0x83, 0, 0, 0, 1, 8]), "greased");
        let mut short = vec![0x4A];
        short.extend_from_slice(&recognition.ids.generate_cid());
        assert!(recognition.is_quic(&short));
        assert!(!self::recognition().is_quic(&short), "another relay's");
    }
}
