//! Virtual nodes: the unit in which keys are dealt out to workers.
//!
//! Why: state is written with the vnode of every row, so a restart with another number of workers only deals the vnodes
//! out anew. Invariant: for any number of workers, the ranges of [`vnodes_of_worker`] tile `0..VNODES` in order, and
//! [`worker_of`] names the range a vnode lies in.

use std::ops::Range;

/// Number of vnodes; fixed for ever at the creation of a pipeline's state.
pub const VNODES: u16 = 1024;

const VNODE_BITS: u32 = VNODES.trailing_zeros();
const _: () = assert!(VNODES.is_power_of_two());

/// The vnode of a key hash: its high bits, so that the low bits stay free for hash tables.
pub fn vnode_of(hash: u64) -> u16 {
    (hash >> (u64::BITS - VNODE_BITS)) as u16
}

/// The worker that owns `vnode` among `workers` (at least one).
pub fn worker_of(vnode: u16, workers: usize) -> usize {
    assert!(vnode < VNODES, "vnode {vnode} is out of range");
    assert!(workers > 0, "there is at least one worker");
    usize::from(vnode) * workers / usize::from(VNODES)
}

/// The vnodes that `worker` owns; empty for some if there are more workers than vnodes.
pub fn vnodes_of_worker(worker: usize, workers: usize) -> Range<u16> {
    assert!(worker < workers, "worker {worker} of {workers}");
    let start = |worker: usize| (worker * usize::from(VNODES)).div_ceil(workers) as u16;
    start(worker)..start(worker + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_tile_all_vnodes_and_agree_with_worker_of() {
        for workers in (1..=70).chain([100, 511, 512, 513, 1023, 1024, 1025, 3000]) {
            let mut next = 0;
            for worker in 0..workers {
                let range = vnodes_of_worker(worker, workers);
                assert_eq!(range.start, next, "worker {worker} of {workers}");
                for vnode in range.clone() {
                    assert_eq!(worker_of(vnode, workers), worker);
                }
                next = range.end;
            }
            assert_eq!(next, VNODES);
        }
    }

    #[test]
    fn vnodes_are_the_high_bits() {
        assert_eq!(vnode_of(0), 0);
        assert_eq!(vnode_of(u64::MAX), VNODES - 1);
        assert_eq!(vnode_of(1 << 54), 1);
        assert_eq!(vnode_of((1 << 54) - 1), 0);
    }
}
