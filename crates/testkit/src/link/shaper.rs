//! Decides for one direction of a link which datagrams arrive, and when. Pure, so that its promises are tested in virtual
//! time.

use std::time::{Duration, Instant};

use fastrand::Rng;

use super::impairments::{Bottleneck, Counts, Impairments, Loss, packets};

/// Extra delay of a datagram that is reordered, so that later ones overtake it.
const REORDER_DELAY: Duration = Duration::from_millis(10);

/// The state of one direction.
#[derive(Debug)]
pub(super) struct Shaper {
    impairments: Impairments,
    cut: bool,
    /// Source of losses: one draw a packet, whatever else happens to it.
    loss_rng: Rng,
    /// Source of reordering and duplication: two draws a datagram.
    order_rng: Rng,
    /// Whether Gilbert's model is in its bad state.
    bad: bool,
    /// Time at which the bottleneck's queue will be empty.
    queue_empty: Instant,
    counts: Counts,
}

/// Time of arrival of a datagram, and the number of copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Arrival {
    pub(super) at: Instant,
    pub(super) copies: usize,
}

impl Shaper {
    pub(super) fn new(impairments: Impairments, mut seeds: Rng, now: Instant) -> Self {
        impairments.check();
        Self {
            impairments,
            cut: false,
            loss_rng: seeds.fork(),
            order_rng: seeds.fork(),
            bad: false,
            queue_empty: now,
            counts: Counts::default(),
        }
    }

    pub(super) fn set(&mut self, impairments: Impairments) {
        self.impairments = impairments;
    }

    pub(super) fn cut(&mut self, cut: bool) {
        self.cut = cut;
    }

    pub(super) fn counts(&self) -> Counts {
        self.counts
    }

    /// Takes a datagram and returns its arrival; `None` if it is lost.
    pub(super) fn admit(&mut self, payload: usize, now: Instant) -> Option<Arrival> {
        self.counts.offered.add(payload);
        let arrival = self.schedule(payload, now).filter(|_| !self.cut);
        if arrival.is_none() {
            self.counts.dropped.add(payload);
        }
        arrival
    }

    /// Counts a copy at the end of its way and returns whether it arrives: it does not if the link was cut meanwhile.
    pub(super) fn complete(&mut self, payload: usize) -> bool {
        let counts = &mut self.counts;
        let count = if self.cut {
            &mut counts.dropped
        } else {
            &mut counts.delivered
        };
        count.add(payload);
        !self.cut
    }

    fn schedule(&mut self, payload: usize, now: Instant) -> Option<Arrival> {
        let mut through = Some(now);
        for bytes in packets(payload) {
            let passed = self.enqueue(bytes, now);
            let lost = self.loses_packet();
            // The fragments behind a lost one are on their way too, so each takes its share of the queue and of the draws.
            through = through.and(passed).filter(|_| !lost);
        }
        let Impairments {
            reorder, duplicate, ..
        } = self.impairments;
        let [late, twice] = [reorder, duplicate].map(|share| self.order_rng.f64() < share);
        let extra = if late { REORDER_DELAY } else { Duration::ZERO };
        through.map(|through| Arrival {
            at: through + self.impairments.delay + extra,
            copies: 1 + usize::from(twice),
        })
    }

    /// Returns the time at which a packet leaves the bottleneck; `None` if the queue is full.
    fn enqueue(&mut self, bytes: usize, now: Instant) -> Option<Instant> {
        let Some(Bottleneck { rate, queue }) = self.impairments.bottleneck else {
            return Some(now);
        };
        let takes = Duration::from_secs_f64(bytes as f64 * 8.0 / rate as f64);
        let waits = self.queue_empty.saturating_duration_since(now);
        if waits > Duration::ZERO && waits + takes > queue {
            return None;
        }
        self.queue_empty = self.queue_empty.max(now) + takes;
        Some(self.queue_empty)
    }

    fn loses_packet(&mut self) -> bool {
        let draw = self.loss_rng.f64();
        match self.impairments.loss {
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

    fn shaper(impairments: Impairments) -> Shaper {
        Shaper::new(impairments, Rng::with_seed(SEED), crate::time::start())
    }

    /// Which of so many packets are lost.
    fn losses(loss: Loss, packets: usize) -> Vec<bool> {
        let mut shaper = shaper(Impairments {
            loss,
            ..Impairments::default()
        });
        let now = shaper.queue_empty;
        (0..packets)
            .map(|_| shaper.admit(1000, now).is_none())
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
        let mut shaper = shaper(Impairments {
            loss: Loss::Random(0.05),
            ..Impairments::default()
        });
        let now = shaper.queue_empty;
        let through = (0..20_000)
            .filter(|_| shaper.admit(40_000, now).is_some())
            .count();
        let share = through as f64 / 20_000.0;
        assert!((share - 0.95_f64.powi(28)).abs() < 0.01, "{share}");
    }

    #[test]
    fn what_is_not_lost_takes_the_delay() {
        let mut shaper = shaper(Impairments {
            delay: 25 * MS,
            ..Impairments::default()
        });
        let now = shaper.queue_empty;
        let arrival = Some(Arrival {
            at: now + 25 * MS,
            copies: 1,
        });
        assert_eq!(shaper.admit(40_000, now), arrival);
        assert_eq!(shaper.admit(1, now), arrival);
    }

    #[test]
    fn a_bottleneck_holds_its_rate_and_nothing_waits_longer_than_its_queue() {
        let queue = 200 * MS;
        let mut shaper = shaper(Impairments {
            bottleneck: Some(Bottleneck {
                rate: 1_000_000,
                queue,
            }),
            ..Impairments::default()
        });
        let start = shaper.queue_empty;
        let (mut bytes, mut longest, mut last) = (0, Duration::ZERO, start);
        for ms in 0..10_000 {
            // 1480 bytes each millisecond are 11.8 Mbit/s.
            let now = start + ms * MS;
            if let Some(arrival) = shaper.admit(1452, now) {
                bytes += 1480;
                longest = longest.max(arrival.at - now);
                last = arrival.at;
            }
        }
        let rate = f64::from(bytes) * 8.0 / (last - start).as_secs_f64();
        assert!((rate - 1e6).abs() < 1e3, "{rate}");
        assert!(longest <= queue && longest > 185 * MS, "{longest:?}");
        let counts = shaper.counts();
        assert_eq!(counts.offered.datagrams, 10_000);
        assert_eq!(
            counts.dropped.bytes + u64::try_from(bytes).unwrap(),
            counts.offered.bytes
        );
    }

    #[test]
    fn an_idle_link_takes_a_packet_that_its_queue_would_not_hold() {
        let mut shaper = shaper(Impairments {
            bottleneck: Some(Bottleneck {
                rate: 8_000,
                queue: MS,
            }),
            ..Impairments::default()
        });
        let now = shaper.queue_empty;
        let first = shaper.admit(972, now).unwrap();
        assert_eq!(first.at, now + Duration::from_secs(1));
        assert_eq!(shaper.admit(972, now + 500 * MS), None);
        assert!(shaper.admit(972, first.at).is_some());
    }

    #[test]
    fn what_is_lost_or_does_not_fit_has_used_the_rate() {
        let mut shaper = shaper(Impairments {
            loss: Loss::Random(1.0),
            bottleneck: Some(Bottleneck {
                rate: 8_000_000,
                queue: 100 * MS,
            }),
            ..Impairments::default()
        });
        let now = shaper.queue_empty;
        assert_eq!(shaper.admit(972, now), None);
        shaper.set(Impairments {
            loss: Loss::None,
            ..shaper.impairments
        });
        assert_eq!(shaper.admit(972, now).unwrap().at, now + 2 * MS);
        // 200 ms of fragments: the first half of them passes, and is of no use.
        assert_eq!(shaper.admit(200_000, now), None);
        assert!(shaper.queue_empty > now + 98 * MS && shaper.queue_empty <= now + 100 * MS);
    }

    #[test]
    fn the_same_seed_gives_the_same_fates_and_another_one_does_not() {
        let impairments = Impairments {
            loss: Loss::Random(0.3),
            reorder: 0.3,
            duplicate: 0.3,
            ..Impairments::default()
        };
        let start = crate::time::start();
        let arrivals_of = |seed| {
            let mut shaper = Shaper::new(impairments, Rng::with_seed(seed), start);
            let sizes = [1, 1472, 8000, 40_000].into_iter().cycle().take(1000);
            sizes
                .map(|size| shaper.admit(size, start))
                .collect::<Vec<_>>()
        };
        assert_eq!(arrivals_of(1), arrivals_of(1));
        assert_ne!(arrivals_of(1), arrivals_of(2));
    }

    #[test]
    fn some_are_overtaken_and_some_come_twice() {
        let mut shaper = shaper(Impairments {
            reorder: 0.1,
            duplicate: 0.02,
            ..Impairments::default()
        });
        let now = shaper.queue_empty;
        let arrivals: Vec<_> = (0..10_000)
            .filter_map(|_| shaper.admit(1000, now))
            .collect();
        let held = arrivals
            .iter()
            .filter(|a| a.at == now + REORDER_DELAY)
            .count();
        let twice = arrivals.iter().filter(|a| a.copies == 2).count();
        assert!((800..1200).contains(&held), "{held}");
        assert!((140..260).contains(&twice), "{twice}");
        assert_eq!(arrivals.len(), 10_000);
    }

    #[test]
    #[should_panic(expected = "no network is like this")]
    fn a_share_above_one_is_refused() {
        shaper(Impairments {
            loss: Loss::Random(5.0),
            ..Impairments::default()
        });
    }
}
