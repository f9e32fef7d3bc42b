// A Rust program for the sandbox: threads, channels, files, time, a panic that is caught.
use std::collections::BTreeMap;
use std::io::Read;
use std::sync::{mpsc, Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    println!("{:?} {:?}", args, std::env::var("GREETING"));
    let shared = Arc::new(Mutex::new(BTreeMap::new()));
    let threads: Vec<_> = (0..8u64).map(|i| {
        let shared = shared.clone();
        thread::spawn(move || {
            let sum = (0..100_000u64).fold(i, |sum, k| sum.wrapping_mul(31).wrapping_add(k));
            shared.lock().unwrap().insert(i, sum);
            i
        })
    }).collect();
    println!("{} {:?}", threads.into_iter().map(|thread| thread.join().unwrap()).sum::<u64>(), shared.lock().unwrap());
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || for i in 0..5 { sender.send(i).unwrap(); thread::sleep(Duration::from_millis(1)); });
    println!("{:?}", receiver.iter().collect::<Vec<i32>>());
    let start = Instant::now();
    thread::sleep(Duration::from_millis(5));
    println!("{}", start.elapsed() >= Duration::from_millis(5));
    std::fs::create_dir_all("folder/inner").unwrap();
    std::fs::write("folder/inner/file", "text").unwrap();
    println!("{:?} {}", std::fs::read_to_string("folder/inner/file"), std::fs::read_dir("folder").unwrap().count());
    let mut input = String::new();
    std::io::stdin().read_to_string(&mut input).unwrap();
    print!("{}", input);
    println!("{}", std::panic::catch_unwind(|| panic!("caught")).is_err());
    std::process::exit(5)
}
