//! Whose turn it is: one command at a time, each terminal in its turn.
//!
//! Invariants: a terminal that asks much does not keep another one waiting for more than one of its commands; what
//! one terminal asks stays in its order.

use std::collections::VecDeque;

/// What one terminal may have waiting: room that it takes is taken from nobody else.
const EACH_MAX: usize = 4;

/// A queue of queues.
#[derive(Debug)]
pub(crate) struct FairQueue<T> {
    /// Terminals with something to do, the next one first. No queue in it is empty.
    turns: VecDeque<(u64, VecDeque<T>)>,
    len: usize,
    terminals_max: usize,
}

impl<T> FairQueue<T> {
    pub(crate) fn new(terminals_max: usize) -> Self {
        Self { turns: VecDeque::new(), len: 0, terminals_max }
    }

    /// Puts something at the end of a terminal's queue, or gives it back when there is no room.
    pub(crate) fn push(&mut self, terminal: u64, item: T) -> Result<(), T> {
        let terminals = self.turns.len();
        match self.turns.iter_mut().find(|(known, _)| *known == terminal) {
            Some((_, queue)) if queue.len() >= EACH_MAX => return Err(item),
            Some((_, queue)) => queue.push_back(item),
            None if terminals >= self.terminals_max => return Err(item),
            None => self.turns.push_back((terminal, VecDeque::from([item]))),
        }
        self.len += 1;
        Ok(())
    }

    /// Takes what is next.
    pub(crate) fn pop(&mut self) -> Option<T> {
        let (terminal, mut queue) = self.turns.pop_front()?;
        let item = queue.pop_front()?;
        self.len -= 1;
        if !queue.is_empty() {
            self.turns.push_back((terminal, queue));
        }
        Some(item)
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_terminal_has_its_turn() {
        let mut queue = FairQueue::new(100);
        for at in 0..4 {
            queue.push(1, (1, at)).expect("there is room");
        }
        assert_eq!(queue.push(1, (1, 4)), Err((1, 4)), "a terminal has its bound");
        queue.push(2, (2, 0)).expect("there is room");
        queue.push(3, (3, 0)).expect("there is room");
        queue.push(2, (2, 1)).expect("there is room");
        let order: Vec<_> = std::iter::from_fn(|| queue.pop()).take(6).collect();
        assert_eq!(order, [(1, 0), (2, 0), (3, 0), (1, 1), (2, 1), (1, 2)]);
        assert_eq!(queue.len(), 1);
    }

    #[test]
    fn it_has_a_bound() {
        let mut queue = FairQueue::new(2);
        assert_eq!(queue.push(1, 'a'), Ok(()));
        assert_eq!(queue.push(2, 'b'), Ok(()));
        assert_eq!(queue.push(3, 'c'), Err('c'));
        assert_eq!((queue.pop(), queue.push(3, 'c')), (Some('a'), Ok(())));
    }

    /// However much one of them asks, nobody gets less than half of what the others get.
    #[test]
    fn shares_are_within_a_factor_of_two() {
        let mut queue = FairQueue::new(10);
        let mut done = [0_u32; 10];
        let mut state = 5_u64;
        for _ in 0..20_000 {
            for terminal in 0..10 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let greedy = if terminal == 0 { 5 } else { 1 };
                for _ in 0..greedy {
                    let _ = queue.push(terminal, terminal);
                }
            }
            for _ in 0..(state >> 33) % 12 {
                if let Some(terminal) = queue.pop() {
                    done[usize::try_from(terminal).expect("small")] += 1;
                }
            }
        }
        let (least, most) = (done.iter().min().expect("ten"), done.iter().max().expect("ten"));
        assert!(most <= &(2 * least), "{done:?}");
    }
}
