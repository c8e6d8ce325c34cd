//! Pictures that keep decoders busy and are just cheap enough to be taken.

use std::sync::Arc;
use std::time::Duration;

use protocol::datagram::MAX_DATAGRAM;
use protocol::jpeg::{Limits, scan};
use protocol::quic::Role;
use testkit::jpeg::bombs;
use tokio::time::{interval, sleep};

use super::floods::send;
use super::{Tally, Target, host};

const CAMERAS: usize = 4;
const INTERVAL: Duration = Duration::from_millis(40);

/// Returns the costliest of the pictures that the relay takes: of those tried, that with the most blocks.
pub fn bomb() -> Vec<u8> {
    let fits = |jpeg: &Vec<u8>| jpeg.len() <= MAX_DATAGRAM && scan(jpeg, Limits::NETWORK).is_ok();
    let heights = (1..=512).rev().map(|blocks| 8 * blocks);
    let mut progressive = heights.map(|height| bombs::flat_progressive(4096, height));
    progressive
        .find(fits)
        .expect("a picture of one row is cheap enough")
}

/// Sends it from cameras that have a viewer each, so that the relay infers them.
pub(super) fn storm(target: &Target, tally: &Arc<Tally>) {
    let jpeg: Arc<[u8]> = bomb().into();
    for n in 0..CAMERAS {
        let (target, tally, jpeg) = (target.clone(), tally.clone(), jpeg.clone());
        let camera = format!("bomb{n}");
        tokio::spawn(watch(n, target.clone(), camera.clone()));
        tokio::spawn(async move {
            loop {
                if let Ok(session) = host::open(n, target.relay, Role::Send, &camera).await {
                    let mut ticks = interval(INTERVAL);
                    while send(&session.connection, &jpeg).await.is_some() {
                        tally.act();
                        ticks.tick().await;
                    }
                }
                tally.refuse();
                sleep(Duration::from_millis(100)).await;
            }
        });
    }
}

/// Views a camera, and drops what comes.
async fn watch(host: usize, target: Target, camera: String) {
    loop {
        if let Ok(session) = host::open(host, target.relay, Role::View, &camera).await {
            while let Ok(mut stream) = session.connection.accept_uni().await {
                tokio::spawn(async move {
                    while let Ok(Some(_)) = stream.read_chunk(1 << 16, false).await {}
                });
            }
        }
        sleep(Duration::from_millis(100)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bomb_is_taken_and_costs_most_of_the_budget() {
        let survey = protocol::jpeg::Survey::of(&bomb()).unwrap();
        assert!(survey.check(Limits::NETWORK).is_ok());
        assert!(survey.cost() > 900_000, "{survey:?}");
    }
}
