//! Whose rendition is made next: one at a time, and the time is shared by hosts and their cameras as that of the model and of
//! drawing is ([`FairQueue`]).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use relay_core::{CameraId, FairQueue, Payer};
use tokio::sync::oneshot;

/// What a rendition is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// The camera.
    pub camera: CameraId,
    /// The host whose part of the time it takes.
    pub payer: Payer,
    /// Pixels of the frame.
    pub pixels: u64,
    /// Address of the frame in memory, which tells it from others of its camera.
    pub frame: usize,
}

/// The turns of all that wait.
#[derive(Debug)]
pub struct RenditionTurns {
    state: Mutex<State>,
    /// Whether those of a camera's older frames give way to those of a newer one.
    newest_wins: bool,
}

#[derive(Debug)]
struct State {
    queue: FairQueue<Waiting>,
    /// As many as there are cameras, which the relay bounds.
    payers: HashMap<CameraId, Payer>,
}

#[derive(Debug)]
struct Waiting {
    frame: usize,
    grant: oneshot::Sender<()>,
}

/// A turn; the next begins when it is dropped.
#[derive(Debug)]
pub struct Turn(Arc<RenditionTurns>);

impl RenditionTurns {
    /// Returns turns of which so many of one camera may wait.
    pub fn new(waiting: usize, newest_wins: bool) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                queue: FairQueue::new(waiting, 1),
                payers: HashMap::new(),
            }),
            newest_wins,
        })
    }

    /// Waits for a turn; `None` if another takes its place. A task that waits is not to be cancelled.
    pub async fn take(self: &Arc<Self>, origin: Origin) -> Option<Turn> {
        let (grant, granted) = oneshot::channel();
        {
            let mut state = self.state();
            let known = state.payers.insert(origin.camera, origin.payer);
            if known != Some(origin.payer) {
                state.queue.renew(origin.camera, origin.payer);
            }
            if self.newest_wins {
                let same = |waiting: &Waiting| waiting.frame == origin.frame;
                state.queue.retain(origin.camera, same);
            }
            let waiting = Waiting {
                frame: origin.frame,
                grant,
            };
            state.queue.enqueue(origin.camera, origin.pixels, waiting);
            state.begin_next();
        }
        granted.await.ok()?;
        Some(Turn(self.clone()))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Gives the next turn, if none is under way.
    fn begin_next(&mut self) {
        while let Some(next) = self.queue.next_batch(Instant::now()) {
            for waiting in next {
                if waiting.grant.send(()).is_ok() {
                    return;
                }
            }
            self.queue.finish(Instant::now());
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.queue.finish(Instant::now());
        state.begin_next();
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;
    use tokio::task::yield_now;

    use super::*;

    fn origin(camera: usize, frame: usize) -> Origin {
        Origin {
            camera: CameraId(camera),
            payer: Payer::default(),
            pixels: 1000,
            frame,
        }
    }

    /// Lets these wait while a turn is under way. Returns in which order their turns come, and how many get none.
    async fn order(newest_wins: bool, waiting: &[(usize, usize)]) -> (Vec<(usize, usize)>, usize) {
        let turns = RenditionTurns::new(16, newest_wins);
        let first = turns.take(origin(9, 0)).await.unwrap();
        let (out, mut order) = mpsc::unbounded_channel();
        let mut tasks = Vec::new();
        for &(camera, frame) in waiting {
            let (turns, out) = (turns.clone(), out.clone());
            tasks.push(tokio::spawn(async move {
                let turn = turns.take(origin(camera, frame)).await;
                if turn.is_some() {
                    out.send((camera, frame)).unwrap();
                }
                turn.is_none()
            }));
            yield_now().await;
        }
        drop((first, out));
        let mut lost = 0;
        for task in tasks {
            lost += usize::from(task.await.unwrap());
        }
        let mut seen = Vec::new();
        while let Some(next) = order.recv().await {
            seen.push(next);
        }
        (seen, lost)
    }

    #[tokio::test]
    async fn a_camera_with_one_picture_does_not_wait_for_all_of_another() {
        let (order, lost) = order(false, &[(1, 1), (1, 2), (1, 3), (1, 4), (2, 1)]).await;
        let at = order.iter().position(|next| *next == (2, 1));
        assert!(at <= Some(2), "{order:?}");
        assert_eq!((order.len(), lost), (5, 0));
    }

    #[tokio::test]
    async fn the_newest_frame_takes_the_place_of_an_older_one_in_all_its_forms() {
        let (order, lost) = order(true, &[(1, 1), (1, 1), (2, 5), (1, 2), (1, 2)]).await;
        assert!(!order.contains(&(1, 1)), "{order:?}");
        assert_eq!((order.len(), lost), (3, 2));
    }
}
