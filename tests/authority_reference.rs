//! Authority against a reference model, by proptest: four clients, every operation, at 0, 5 and 30 %
//! loss with duplicates and disorder. What fails is made as short as it can be.
//!
//! `SEAMLESS_MODEL_CASES` says how many histories at each loss; 3 if it is not set. `SEAMLESS_MODEL_SEED`
//! draws others.

#![allow(dead_code, unreachable_pub, reason = "the storm is an example's")]

#[path = "../examples/authority_storm/storm/mod.rs"]
mod storm;

mod reference;

use proptest::{
    prelude::*,
    test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner},
};
use reference::{
    model::{CLIENTS, Model, Op},
    run::Run,
};

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| {
        let number = text.parse();
        number.unwrap_or_else(|_| panic!("{name} is a number"))
    })
}

fn op() -> impl Strategy<Value = Op> {
    let client = 0..CLIENTS;
    prop_oneof![
        8 => client.clone().prop_map(Op::Request),
        5 => client.clone().prop_map(Op::Release),
        6 => client.clone().prop_map(Op::Write),
        3 => client.clone().prop_map(Op::Give),
        1 => Just(Op::Take),
        2 => Just(Op::Reset),
        2 => client.clone().prop_map(Op::Include),
        2 => client.clone().prop_map(Op::Exclude),
        2 => Just(Op::Enable),
        1 => Just(Op::Disable),
        1 => Just(Op::Despawn),
        1 => client.clone().prop_map(Op::Disconnect),
        2 => client.prop_map(Op::Reconnect),
    ]
}

/// Draws histories and runs them; the shortest that fails is what it panics with.
fn all_pass<S: Strategy>(
    loss: f32,
    histories: S,
    run: impl Fn(Run, S::Value) -> Result<(), String>,
) {
    let config = Config {
        cases: number("SEAMLESS_MODEL_CASES", 3) as u32,
        max_shrink_iters: 300,
        failure_persistence: None,
        ..Config::default()
    };
    let seed = number("SEAMLESS_MODEL_SEED", 1);
    let mut bytes = [(loss * 100.0) as u8; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let result = runner.run(&(0..1000u64, histories), |(weather, history)| {
        let mut it = Run::new(weather, loss);
        let outcome = it.settle().and_then(|()| run(it, history));
        outcome.map_err(TestCaseError::fail)
    });
    if let Err(error) = result {
        panic!("loss {loss}: {error}");
    }
}

/// One thing after the other, each until it is quiet: then it is known what must come of it.
fn one_after_the_other(loss: f32) {
    let histories = proptest::collection::vec(op(), 1..30);
    all_pass(loss, histories, |mut run, history| {
        let mut model = Model::default();
        let mut name = run.name;
        let (_, _, mut first) = run.holder();
        for op in history {
            model.apply(op);
            run.happen(op);
            run.settle().map_err(|error| format!("{op:?}: {error}"))?;
            let (holder, delegated, seq) = run.holder();
            if std::mem::replace(&mut name, run.name) != run.name {
                first = seq;
            }
            let is = (holder, delegated, seq - first);
            let due = (model.holder, model.delegated, model.changes);
            if is != due {
                return Err(format!("{op:?}: it is {is:?} and should be {due:?}"));
            }
        }
        Ok(())
    });
}

/// Many things at once: what comes of it depends on the network, but when it is quiet all agree.
fn all_at_once(loss: f32) {
    let squall = proptest::collection::vec((op(), 0..5usize), 1..40);
    let histories = proptest::collection::vec(squall, 1..5);
    all_pass(loss, histories, |mut run, history| {
        for squall in history {
            for (op, frames) in squall {
                run.happen(op);
                for _ in 0..frames {
                    run.step()?;
                }
            }
            run.settle()?;
        }
        Ok(())
    });
}

#[test]
fn it_is_as_the_reference_says_on_a_good_network() {
    one_after_the_other(0.0);
}

#[test]
fn it_is_as_the_reference_says_with_some_loss() {
    one_after_the_other(0.05);
}

#[test]
fn it_is_as_the_reference_says_with_heavy_loss() {
    one_after_the_other(0.3);
}

#[test]
fn all_agree_when_it_is_quiet_on_a_good_network() {
    all_at_once(0.0);
}

#[test]
fn all_agree_when_it_is_quiet_with_some_loss() {
    all_at_once(0.05);
}

#[test]
fn all_agree_when_it_is_quiet_with_heavy_loss() {
    all_at_once(0.3);
}
