//! One direction of a link, decided: which datagram arrives, and when. Pure, so that its promises are tested in virtual
//! time.

use std::time::{Duration, Instant};

use fastrand::Rng;

use super::path::{Bottleneck, Counts, Loss, Path, packets};

/// A datagram that is to be overtaken is held back for this long.
const HELD: Duration = Duration::from_millis(10);

/// One direction as it stands.
#[derive(Debug)]
pub(super) struct Lane {
    path: Path,
    cut: bool,
    /// Decides on losses, with one draw a packet whatever else happens to it.
    loss: Rng,
    /// Decides on the rest, with two draws a datagram.
    twist: Rng,
    /// Gilbert's bad state.
    bad: bool,
    /// When the bottleneck will have sent all that it holds.
    free: Instant,
    counts: Counts,
}

/// When a datagram arrives, and how often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Arrival {
    pub(super) at: Instant,
    pub(super) copies: usize,
}

impl Lane {
    pub(super) fn new(path: Path, mut seeds: Rng, now: Instant) -> Self {
        path.check();
        Self {
            path,
            cut: false,
            loss: seeds.fork(),
            twist: seeds.fork(),
            bad: false,
            free: now,
            counts: Counts::default(),
        }
    }

    pub(super) fn set(&mut self, path: Path) {
        self.path = path;
    }

    pub(super) fn cut(&mut self, cut: bool) {
        self.cut = cut;
    }

    pub(super) fn counts(&self) -> Counts {
        self.counts
    }

    /// Takes a datagram; `None` where it will not arrive.
    pub(super) fn admit(&mut self, payload: usize, now: Instant) -> Option<Arrival> {
        self.counts.offered.add(payload);
        let arrival = self.fate(payload, now).filter(|_| !self.cut);
        if arrival.is_none() {
            self.counts.dropped.add(payload);
        }
        arrival
    }

    /// One copy has come to the end of the way; false where it was cut meanwhile.
    pub(super) fn arrives(&mut self, payload: usize) -> bool {
        let counts = &mut self.counts;
        let count = if self.cut {
            &mut counts.dropped
        } else {
            &mut counts.delivered
        };
        count.add(payload);
        !self.cut
    }

    fn fate(&mut self, payload: usize, now: Instant) -> Option<Arrival> {
        let mut through = Some(now);
        for bytes in packets(payload) {
            let passed = self.squeeze(bytes, now);
            let lost = self.loses();
            // All are on their way before the first one is missed, so each of them is decided.
            through = through.and(passed).filter(|_| !lost);
        }
        let [held, twice] = [self.path.reorder, self.path.duplicate].map(|p| self.twist.f64() < p);
        let extra = if held { HELD } else { Duration::ZERO };
        through.map(|through| Arrival {
            at: through + self.path.delay + extra,
            copies: 1 + usize::from(twice),
        })
    }

    /// When a packet leaves the bottleneck; `None` where the queue is full.
    fn squeeze(&mut self, bytes: usize, now: Instant) -> Option<Instant> {
        let Some(Bottleneck { rate, queue }) = self.path.bottleneck else {
            return Some(now);
        };
        let takes = Duration::from_secs_f64(bytes as f64 * 8.0 / rate as f64);
        let waits = self.free.saturating_duration_since(now);
        if waits > Duration::ZERO && waits + takes > queue {
            return None;
        }
        self.free = self.free.max(now) + takes;
        Some(self.free)
    }

    fn loses(&mut self) -> bool {
        let draw = self.loss.f64();
        match self.path.loss {
            Loss::None => false,
            Loss::Random(share) => draw < share,
            Loss::Bursts { share, length } => {
                let leave = 1.0 / length;
                // In the long run as many runs end as begin: share * leave = (1 - share) * enter.
                let enter = leave * share / (1.0 - share);
                self.bad ^= draw < if self.bad { leave } else { enter };
                self.bad
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const SEED: u64 = 20;

    fn lane(path: Path) -> Lane {
        Lane::new(path, Rng::with_seed(SEED), crate::time::start())
    }

    /// Which of so many packets are lost.
    fn losses(loss: Loss, packets: usize) -> Vec<bool> {
        let mut lane = lane(Path {
            loss,
            ..Path::default()
        });
        let now = lane.free;
        (0..packets)
            .map(|_| lane.admit(1000, now).is_none())
            .collect()
    }

    fn share(lost: &[bool]) -> f64 {
        lost.iter().filter(|lost| **lost).count() as f64 / lost.len() as f64
    }

    /// Mean length of the runs of lost packets.
    fn run_length(lost: &[bool]) -> f64 {
        let runs = lost.split(|lost| !lost).filter(|run| !run.is_empty());
        let (runs, packets) = runs.fold((0, 0), |(n, sum), run| (n + 1, sum + run.len()));
        f64::from(packets as u32) / f64::from(runs)
    }

    #[test]
    fn random_losses_have_their_share_and_no_memory() {
        let lost = losses(Loss::Random(0.05), 200_000);
        assert!((share(&lost) - 0.05).abs() < 0.002, "{}", share(&lost));
        // One in twenty follows another: runs of 1 / (1 - p).
        let length = run_length(&lost);
        assert!((length - 1.0 / 0.95).abs() < 0.02, "{length}");
        assert_eq!(share(&losses(Loss::None, 1000)), 0.0);
        assert_eq!(share(&losses(Loss::Random(1.0), 1000)), 1.0);
    }

    #[test]
    fn bursts_have_their_share_and_their_mean_length() {
        let bursts = Loss::Bursts {
            share: 0.2,
            length: 5.0,
        };
        let lost = losses(bursts, 400_000);
        assert!((share(&lost) - 0.2).abs() < 0.01, "{}", share(&lost));
        let length = run_length(&lost);
        assert!((length - 5.0).abs() < 0.15, "{length}");
    }

    #[test]
    fn a_datagram_is_lost_with_any_of_its_fragments() {
        let mut lane = lane(Path {
            loss: Loss::Random(0.05),
            ..Path::default()
        });
        let now = lane.free;
        let through = (0..20_000)
            .filter(|_| lane.admit(40_000, now).is_some())
            .count();
        let share = through as f64 / 20_000.0;
        assert!((share - 0.95_f64.powi(28)).abs() < 0.01, "{share}");
    }

    #[test]
    fn what_is_not_lost_takes_the_delay() {
        let mut lane = lane(Path {
            delay: 25 * MS,
            ..Path::default()
        });
        let now = lane.free;
        let arrival = Some(Arrival {
            at: now + 25 * MS,
            copies: 1,
        });
        assert_eq!(lane.admit(40_000, now), arrival);
        assert_eq!(lane.admit(1, now), arrival);
    }

    #[test]
    fn a_bottleneck_holds_its_rate_and_nothing_waits_longer_than_its_queue() {
        let queue = 200 * MS;
        let mut lane = lane(Path {
            bottleneck: Some(Bottleneck {
                rate: 1_000_000,
                queue,
            }),
            ..Path::default()
        });
        let start = lane.free;
        let (mut bytes, mut longest, mut last) = (0, Duration::ZERO, start);
        for ms in 0..10_000 {
            // 1480 bytes each millisecond are 11.8 Mbit/s.
            let now = start + ms * MS;
            if let Some(arrival) = lane.admit(1452, now) {
                bytes += 1480;
                longest = longest.max(arrival.at - now);
                last = arrival.at;
            }
        }
        let rate = f64::from(bytes) * 8.0 / (last - start).as_secs_f64();
        assert!((rate - 1e6).abs() < 1e3, "{rate}");
        assert!(longest <= queue && longest > 185 * MS, "{longest:?}");
        let counts = lane.counts();
        assert_eq!(counts.offered.datagrams, 10_000);
        assert_eq!(
            counts.dropped.bytes + u64::try_from(bytes).unwrap(),
            counts.offered.bytes
        );
    }

    #[test]
    fn an_idle_link_takes_a_packet_that_its_queue_would_not_hold() {
        let mut lane = lane(Path {
            bottleneck: Some(Bottleneck {
                rate: 8_000,
                queue: MS,
            }),
            ..Path::default()
        });
        let now = lane.free;
        let first = lane.admit(972, now).unwrap();
        assert_eq!(first.at, now + Duration::from_secs(1));
        assert_eq!(lane.admit(972, now + 500 * MS), None);
        assert!(lane.admit(972, first.at).is_some());
    }

    #[test]
    fn what_is_lost_or_does_not_fit_has_used_the_rate() {
        let mut lane = lane(Path {
            loss: Loss::Random(1.0),
            bottleneck: Some(Bottleneck {
                rate: 8_000_000,
                queue: 100 * MS,
            }),
            ..Path::default()
        });
        let now = lane.free;
        assert_eq!(lane.admit(972, now), None);
        lane.set(Path {
            loss: Loss::None,
            ..lane.path
        });
        assert_eq!(lane.admit(972, now).unwrap().at, now + 2 * MS);
        // 200 ms of fragments: the first half of them passes, and is of no use.
        assert_eq!(lane.admit(200_000, now), None);
        assert!(lane.free > now + 98 * MS && lane.free <= now + 100 * MS);
    }

    #[test]
    fn the_same_seed_gives_the_same_fates_and_another_one_does_not() {
        let path = Path {
            loss: Loss::Random(0.3),
            reorder: 0.3,
            duplicate: 0.3,
            ..Path::default()
        };
        let start = crate::time::start();
        let fates = |seed| {
            let mut lane = Lane::new(path, Rng::with_seed(seed), start);
            let sizes = [1, 1472, 8000, 40_000].into_iter().cycle().take(1000);
            sizes
                .map(|size| lane.admit(size, start))
                .collect::<Vec<_>>()
        };
        assert_eq!(fates(1), fates(1));
        assert_ne!(fates(1), fates(2));
    }

    #[test]
    fn some_are_overtaken_and_some_come_twice() {
        let mut lane = lane(Path {
            reorder: 0.1,
            duplicate: 0.02,
            ..Path::default()
        });
        let now = lane.free;
        let arrivals: Vec<_> = (0..10_000).filter_map(|_| lane.admit(1000, now)).collect();
        let held = arrivals.iter().filter(|a| a.at == now + HELD).count();
        let twice = arrivals.iter().filter(|a| a.copies == 2).count();
        assert!((800..1200).contains(&held), "{held}");
        assert!((140..260).contains(&twice), "{twice}");
        assert_eq!(arrivals.len(), 10_000);
    }

    #[test]
    #[should_panic(expected = "no network is like this")]
    fn a_share_above_one_is_refused() {
        lane(Path {
            loss: Loss::Random(5.0),
            ..Path::default()
        });
    }
}
