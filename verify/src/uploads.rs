//! What an outlet's journal says of its uploads: that answers come in the order of the invoices, none left out and
//! none answered twice, and that only what was refused is sent again.

use std::collections::{BTreeMap, VecDeque};

use crate::failure::{Failure, Kind};
use crate::value::Value;

/// Invoices that wait for an answer, at most; of a longer queue nothing is known any more.
const QUEUE_MAX: usize = 1_000_000;

/// Where a refused invoice stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refused {
    Refused,
    Again,
}

/// The uploads so far.
#[derive(Debug)]
pub(crate) struct Uploads {
    /// Up to where everything is answered; none while the records have not said.
    through: Option<u64>,
    /// Positions behind it of invoices that wait, in order; none when some of them are not known.
    queue: Option<VecDeque<u64>>,
    refused: BTreeMap<u64, Refused>,
    complete: bool,
}

fn wrong(detail: impl Into<String>) -> Failure {
    Failure::new(Kind::Chain, "upload", detail)
}

impl Uploads {
    /// Of a journal that is known from its first record, or from a later one.
    pub(crate) fn new(complete: bool) -> Self {
        let through = complete.then_some(0);
        let queue = complete.then(VecDeque::new);
        Self { through, queue, refused: BTreeMap::new(), complete }
    }

    /// An invoice was sealed.
    pub(crate) fn sealed(&mut self, position: u64) {
        if let Some(queue) = &mut self.queue {
            queue.push_back(position);
            if queue.len() > QUEUE_MAX {
                self.queue = None;
            }
        }
    }

    /// The tax authority has answered, or somebody wants refused invoices to be sent again.
    pub(crate) fn stated(&mut self, value: &Value, position: u64) -> Result<(), Failure> {
        let unreadable = || Failure::new(Kind::Format, "payload", "it states no upload");
        let state = value.text("state").ok_or_else(unreadable)?;
        let after = value.count("after_position").ok_or_else(unreadable)?;
        let through = value.count("through_position").ok_or_else(unreadable)?;
        let invoices = value.list("invoices").ok_or_else(unreadable)?;
        let places: Option<Vec<u64>> =
            invoices.iter().map(|invoice| invoice.count("position")).collect();
        let places = places.ok_or_else(unreadable)?;
        if value.count("count") != Some(places.len() as u64) || places.is_empty() {
            return Err(unreadable());
        }
        if !places.windows(2).all(|pair| pair[0] < pair[1])
            || places.last().is_some_and(|last| *last >= position)
        {
            return Err(wrong("its invoices are not in the order of their positions"));
        }
        if self.through.is_some_and(|known| known != after) {
            return Err(wrong(format!(
                "it goes on from {after}, which is not where the last ended"
            )));
        }
        if through < after || through >= position {
            return Err(wrong(format!("it settles the journal up to {through}")));
        }
        match state {
            "queued" => self.asked_again(&places, through == after)?,
            "acknowledged" | "rejected" | "failed" => {
                let refuses = state != "acknowledged";
                self.answered(&places, (after, through), refuses)?;
            }
            _ => return Err(unreadable()),
        }
        self.through = Some(through);
        Ok(())
    }

    fn asked_again(&mut self, places: &[u64], stays: bool) -> Result<(), Failure> {
        if !stays {
            return Err(wrong("it settles what is only asked for again"));
        }
        for place in places {
            match self.refused.insert(*place, Refused::Again) {
                Some(Refused::Refused) => {}
                None if !self.complete => {}
                _ => return Err(wrong(format!("invoice {place} was not refused"))),
            }
        }
        Ok(())
    }

    fn answered(
        &mut self,
        places: &[u64],
        (after, through): (u64, u64),
        refuses: bool,
    ) -> Result<(), Failure> {
        for place in places {
            let known = self.refused.get(place).copied();
            let is_next = match known {
                Some(known) => known == Refused::Again,
                None => *place > after || !self.complete,
            };
            if !is_next {
                return Err(wrong(format!("invoice {place} was answered before")));
            }
            if refuses {
                self.refused.insert(*place, Refused::Refused);
            } else {
                self.refused.remove(place);
            }
            let waits = self.queue.as_ref().is_none_or(|queue| queue.binary_search(place).is_ok());
            if known.is_none() && !waits {
                return Err(wrong(format!("{place} is not the position of an invoice that waits")));
            }
        }
        self.pass(places, through)
    }

    /// Everything up to `through` must be in this answer, or have been refused.
    fn pass(&mut self, places: &[u64], through: u64) -> Result<(), Failure> {
        let Some(queue) = &mut self.queue else { return Ok(()) };
        while let Some(place) = queue.front().copied().filter(|place| *place <= through) {
            if places.binary_search(&place).is_err() && !self.refused.contains_key(&place) {
                return Err(wrong(format!("invoice {place} is passed over")));
            }
            queue.pop_front();
        }
        match places.iter().find(|place| **place > through && !self.refused.contains_key(*place)) {
            Some(place) => Err(wrong(format!("invoice {place} is acknowledged ahead of others"))),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(state: &str, after: u64, through: u64, places: &[u64]) -> Value {
        let invoices = places.iter().map(|place| format!("{{\"position\":{place}}}"));
        let invoices = invoices.collect::<Vec<_>>().join(",");
        let count = places.len();
        let text = format!(
            "{{\"state\":\"{state}\",\"after_position\":{after},\"through_position\":{through},\
             \"count\":{count},\"invoices\":[{invoices}]}}"
        );
        Value::parse(&text).expect("it is JSON")
    }

    type Said<'a> = (&'a str, u64, u64, &'a [u64]);

    /// Whether all are taken, after five invoices.
    fn taken(said: &[Said<'_>]) -> bool {
        let mut uploads = Uploads::new(true);
        (1..=5).for_each(|place| uploads.sealed(place));
        said.iter().all(|(state, after, through, places)| {
            uploads.stated(&record(state, *after, *through, places), 9).is_ok()
        })
    }

    #[test]
    fn answers_come_in_order_and_leave_nothing_out() {
        let good: [&[Said<'_>]; 4] = [
            &[("acknowledged", 0, 2, &[1, 2]), ("acknowledged", 2, 5, &[3, 4, 5])],
            &[("rejected", 0, 0, &[2]), ("acknowledged", 0, 3, &[1, 3])],
            &[("rejected", 0, 1, &[1]), ("queued", 1, 1, &[1]), ("acknowledged", 1, 2, &[1, 2])],
            &[("failed", 0, 1, &[1]), ("queued", 1, 1, &[1]), ("rejected", 1, 1, &[1])],
        ];
        for said in good {
            assert!(taken(said), "{said:?}");
        }
        let bad: [&[Said<'_>]; 11] = [
            &[("acknowledged", 0, 3, &[1, 3])],
            &[("acknowledged", 0, 2, &[2, 1])],
            &[("acknowledged", 1, 2, &[2])],
            &[("acknowledged", 0, 1, &[1, 2])],
            &[("acknowledged", 0, 9, &[1, 2, 3, 4, 5])],
            &[("acknowledged", 0, 2, &[1, 2]), ("acknowledged", 2, 3, &[2, 3])],
            &[("acknowledged", 0, 1, &[1]), ("queued", 1, 1, &[1])],
            &[("rejected", 0, 1, &[1]), ("acknowledged", 1, 2, &[1, 2])],
            &[("rejected", 0, 1, &[1]), ("queued", 1, 1, &[1]), ("queued", 1, 1, &[1])],
            &[("acknowledged", 0, 7, &[1, 2, 3, 4, 5, 7])],
            &[("lost", 0, 1, &[1])],
        ];
        for said in bad {
            assert!(!taken(said), "{said:?}");
        }
    }

    #[test]
    fn of_a_part_of_a_journal_only_what_it_says_is_checked() {
        let mut uploads = Uploads::new(false);
        uploads.sealed(100);
        let mut state = |value: Value| uploads.stated(&value, 200).is_ok();
        assert!(state(record("acknowledged", 40, 50, &[42, 50])));
        assert!(state(record("queued", 50, 50, &[7])));
        assert!(!state(record("acknowledged", 49, 60, &[60])));
    }
}
