//! The clock and the randomness of the C library, given by the simulation to its own threads.
//!
//! ```text
//! std::time, tokio, openraft, hash maps, rand ──► clock_gettime, getrandom ──► this thread simulates? ──► the seed
//!                                                                              any other thread      ──► the kernel
//! ```
//!
//! A program that links this crate has these two symbols here instead of in the C library, so that whatever the
//! product and its dependencies do, a seed gives the same run. Nothing has to be compiled with other flags for
//! it. Invariant: on a thread that has not entered a simulation both are the kernel's. Non-goals: sleeping, and
//! what goes to the kernel directly (`ring`), for which the product takes its randomness as an argument.

use std::cell::Cell;
use std::ffi::{c_int, c_long, c_uint, c_void};
use std::time::Duration;

use rustix::rand::GetRandomFlags;
use rustix::time::ClockId;

/// What a simulating thread has instead of clock and randomness.
#[derive(Debug, Clone, Copy)]
struct Given {
    /// Since the machine was started.
    monotonic: Duration,
    /// Since 1970.
    wall: Duration,
    random: u64,
}

thread_local! {
    static GIVEN: Cell<Option<Given>> = const { Cell::new(None) };
}

/// From now on this thread has its randomness from `seed`, and its clocks stand until [`set_time`]. It must be
/// the first thing that a thread does: what has been random before stays so.
pub fn enter(seed: u64, monotonic: Duration, wall: Duration) {
    GIVEN.set(Some(Given { monotonic, wall, random: seed }));
}

/// Moves this thread's clocks.
pub fn set_time(monotonic: Duration, wall: Duration) {
    if let Some(given) = GIVEN.get() {
        GIVEN.set(Some(Given { monotonic, wall, ..given }));
    }
}

/// The next number of this thread's randomness (splitmix64); `None` outside of a simulation.
pub fn next_random() -> Option<u64> {
    let mut given = GIVEN.get()?;
    given.random = given.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
    GIVEN.set(Some(given));
    let mut mixed = given.random;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    Some(mixed ^ (mixed >> 31))
}

/// Fills the buffer from this thread's randomness; says whether the thread simulates.
pub fn fill(buffer: &mut [u8]) -> bool {
    for piece in buffer.chunks_mut(8) {
        let Some(number) = next_random() else { return false };
        piece.copy_from_slice(&number.to_le_bytes()[..piece.len()]);
    }
    GIVEN.get().is_some()
}

/// As the C library has it on 64-bit Linux.
#[repr(C)]
#[derive(Debug)]
pub struct Timespec {
    seconds: c_long,
    nanoseconds: c_long,
}

/// `CLOCK_REALTIME`, `CLOCK_REALTIME_COARSE` and `CLOCK_TAI` tell the time of day.
fn is_wall(clock: c_int) -> bool {
    matches!(clock, 0 | 5 | 11)
}

fn kernel_time(clock: c_int) -> Option<(i64, i64)> {
    let id = match clock {
        0 => ClockId::Realtime,
        1 => ClockId::Monotonic,
        2 => ClockId::ProcessCPUTime,
        3 => ClockId::ThreadCPUTime,
        4 => ClockId::MonotonicRaw,
        5 => ClockId::RealtimeCoarse,
        6 => ClockId::MonotonicCoarse,
        7 => ClockId::Boottime,
        _ => return None,
    };
    let time = rustix::time::clock_gettime(id);
    Some((time.tv_sec, time.tv_nsec))
}

/// Stands in for `clock_gettime(2)`.
///
/// # Safety
///
/// `time` is null or points to a `timespec` that may be written.
#[allow(
    unsafe_code,
    reason = "a symbol of the C library is given, and its caller's pointer written"
)]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clock_gettime(clock: c_int, time: *mut Timespec) -> c_int {
    let told = match GIVEN.get() {
        Some(given) => {
            let now = if is_wall(clock) { given.wall } else { given.monotonic };
            Some((i64::try_from(now.as_secs()).unwrap_or(i64::MAX), i64::from(now.subsec_nanos())))
        }
        None => kernel_time(clock),
    };
    let Some((seconds, nanoseconds)) = told else { return -1 };
    if time.is_null() {
        return -1;
    }
    // SAFETY: the caller vouches for a pointer that is not null.
    unsafe { time.write(Timespec { seconds, nanoseconds }) };
    0
}

/// Stands in for `getrandom(2)`.
///
/// # Safety
///
/// `buffer` points to `length` bytes that may be written.
#[allow(
    unsafe_code,
    reason = "a symbol of the C library is given, and its caller's buffer written"
)]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getrandom(buffer: *mut c_void, length: usize, flags: c_uint) -> isize {
    if buffer.is_null() || length == 0 {
        return 0;
    }
    // SAFETY: the caller vouches for so many bytes; they are only written.
    let bytes = unsafe {
        buffer.cast::<u8>().write_bytes(0, length);
        std::slice::from_raw_parts_mut(buffer.cast::<u8>(), length)
    };
    if fill(bytes) {
        return isize::try_from(length).unwrap_or(isize::MAX);
    }
    let flags = GetRandomFlags::from_bits_truncate(flags);
    match rustix::rand::getrandom(bytes, flags) {
        Ok(filled) => isize::try_from(filled).unwrap_or(isize::MAX),
        Err(_) => -1,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::time::{Instant, SystemTime};

    use super::*;

    /// Everything of the standard library that would differ from run to run.
    fn seen(seed: u64) -> (Vec<u32>, Duration, SystemTime) {
        let simulated = move || {
            enter(seed, Duration::from_secs(100), Duration::from_secs(1_800_000_000));
            let map: HashMap<u32, u32> = (0..100).map(|n| (n, n)).collect();
            let began = Instant::now();
            set_time(Duration::from_secs(103), Duration::from_secs(1_800_000_003));
            (map.into_keys().collect(), began.elapsed(), SystemTime::now())
        };
        std::thread::spawn(simulated).join().expect("no panic")
    }

    #[test]
    fn a_seed_decides_what_is_random_and_what_time_it_is() {
        let (order, waited, now) = seen(7);
        assert_eq!(waited, Duration::from_secs(3));
        let wall = now.duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
        assert_eq!(wall, Duration::from_secs(1_800_000_003));
        assert_eq!(seen(7).0, order);
        assert_ne!(seen(8).0, order);
    }

    #[test]
    fn other_threads_have_the_kernels() {
        assert_eq!(next_random(), None);
        let (before, map) = (Instant::now(), HashMap::from([(1, 2)]));
        while before.elapsed().is_zero() {}
        assert!(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).is_ok());
        assert_eq!(map[&1], 2);
    }
}
