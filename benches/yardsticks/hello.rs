//! The yardstick for starting up: the least that a Rust program does.

fn main() {
    println!("hello");
}
