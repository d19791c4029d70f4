//! Many threads at once on the one lock.

use std::sync::Barrier;

use parking_lot::Mutex;

use super::*;

#[test]
fn of_64_threads_with_money_for_ten_exactly_ten_are_admitted() {
    for _ in 0..20 {
        let engine =
            Mutex::new(engine(|policy| acme(policy).limits.prepaid = Some(prepaid("0.030"))));
        let identity = who(&engine.lock(), PROD);
        let barrier = Barrier::new(64);

        let admitted: usize = std::thread::scope(|scope| {
            let submit = || {
                barrier.wait();
                let decision = engine.lock().admit(submission(identity), START);
                usize::from(matches!(decision, Decision::Admit(_)))
            };
            let threads: Vec<_> = (0..64).map(|_| scope.spawn(submit)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });

        assert_eq!(admitted, 10);
        assert_eq!(held(&mut engine.lock(), START), usd("0.030"));
    }
}
