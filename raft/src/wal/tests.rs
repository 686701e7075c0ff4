//! The log against the disk that forgets, tears and corrupts.

mod basics;
mod crash;
mod damage;
mod faults;
mod world;
