//! Cuts a plan that fails down to what matters.

use super::{Plan, run::run};

/// Fewer frames to wait for what never comes.
const PATIENCE: u32 = 150;

/// Leaves out all that the failure does not need: first large pieces, then single operations.
pub fn shrink(plan: &Plan) -> Plan {
    let mut plan = plan.clone();
    let fails = |plan: &Plan| run(plan, PATIENCE).is_err();
    let mut piece = plan.ops.len() / 2;
    while piece > 0 {
        let mut at = 0;
        while at < plan.ops.len() {
            let mut less = plan.clone();
            less.ops.drain(at..(at + piece).min(plan.ops.len()));
            if fails(&less) {
                plan = less;
            } else {
                at += piece;
            }
        }
        piece /= 2;
    }
    for client in (1..plan.joins.len()).rev() {
        let mut less = plan.clone();
        less.joins.remove(client);
        if fails(&less) {
            plan = less;
        }
    }
    plan
}
