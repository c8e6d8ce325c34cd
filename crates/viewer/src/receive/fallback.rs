//! When HTTP is needed: nothing comes by UDP, and a relay answers by HTTP.

use std::time::{Duration, Instant};

use platform::http_client::{HttpClient, HttpFailure, UdpSilence};
use platform::server::RelayAddress;
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{info, warn};

use super::options::ConnectOptions;
use super::status::{LinkState, ReceiveStatus};

/// Time between two checks whether UDP is blocked.
const POLL: Duration = Duration::from_millis(250);
/// Pause after a try by HTTP that no relay answered; doubled after each.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
/// Longest of those pauses.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Waits until nothing has come by UDP for a while and a relay answers by HTTP; without limit where HTTP is not used.
pub(super) fn relay_by_http(
    options: &ConnectOptions,
    address: &RelayAddress,
    status: watch::Receiver<ReceiveStatus>,
) -> impl Future<Output = ()> + use<> {
    let server = options.http.clone().filter(|server| server.url().is_none());
    let address = address.clone();
    async move {
        let client = server
            .as_ref()
            .and_then(|server| HttpClient::new(server).ok());
        let (Some(server), Some(mut client)) = (server, client) else {
            return std::future::pending().await;
        };
        let mut silence = UdpSilence::new(Instant::now());
        let mut pause = FIRST_PAUSE;
        let mut logged = None;
        loop {
            sleep(POLL).await;
            let now = Instant::now();
            let is_open = status.borrow().link == LinkState::Open;
            let answered = address.answered().into_iter();
            let answered = answered.chain(is_open.then_some(now));
            answered.for_each(|at| silence.on_answer(at));
            if !silence.is_blocked(now) {
                pause = FIRST_PAUSE;
                continue;
            }
            match client.cameras().await {
                Ok(_) => {
                    return warn!(
                        "UDP to {server} is blocked; receiving by HTTP, where a lost packet delays all frames behind it; \
                         QUIC is tried on"
                    );
                }
                Err(why) => {
                    log_once(&mut logged, &why, client.needs());
                    sleep(pause).await;
                    pause = LONGEST_PAUSE.min(2 * pause);
                }
            }
        }
    }
}

fn log_once(logged: &mut Option<HttpFailure>, why: &HttpFailure, needs: &str) {
    if logged.as_ref() != Some(why) {
        info!(
            %why,
            "nothing answers by UDP, and no relay by HTTP, for which it needs {needs}; trying on"
        );
        *logged = Some(why.clone());
    }
}
