//! When pods are evicted because their node runs short of something: kubelet's options of these names.

use std::time::Duration;

use anyhow::Context;
use clap::Args;
use naru_agent::Eviction;

// (No doc comment: it would become the text of the whole command.)
#[derive(Debug, Clone, Args)]
pub(crate) struct EvictionOptions {
    /// Evict pods at once when less than this is left; empty: never
    #[arg(long, env = "NARU_EVICTION_HARD", default_value = Eviction::HARD, value_name = "SIGNAL<AMOUNT,…")]
    eviction_hard: String,
    /// Evict pods when less than this is left for as long as its grace period
    #[arg(long, env = "NARU_EVICTION_SOFT", default_value = "", value_name = "SIGNAL<AMOUNT,…")]
    eviction_soft: String,
    /// Grace periods of soft thresholds
    #[arg(long, env = "NARU_EVICTION_SOFT_GRACE_PERIOD", default_value = "", value_name = "SIGNAL=DURATION,…")]
    eviction_soft_grace_period: String,
    /// How much more than its threshold is freed once that is crossed
    #[arg(long, env = "NARU_EVICTION_MINIMUM_RECLAIM", default_value = "", value_name = "SIGNAL=AMOUNT,…")]
    eviction_minimum_reclaim: String,
    /// The longest grace of a pod that is evicted for a soft threshold, in seconds
    #[arg(long, env = "NARU_EVICTION_MAX_POD_GRACE_PERIOD", default_value = "0", value_name = "SECONDS")]
    eviction_max_pod_grace_period: u32,
    /// How long a node counts as short of something after it no longer is
    #[arg(
        long,
        env = "NARU_EVICTION_PRESSURE_TRANSITION_PERIOD",
        default_value = "5m",
        value_parser = crate::cluster::duration
    )]
    eviction_pressure_transition_period: Duration,
}

impl EvictionOptions {
    /// What the agent goes by.
    ///
    /// # Errors
    /// What of it is not understood.
    pub(crate) fn settings(&self) -> anyhow::Result<Eviction> {
        Eviction::parse(
            &self.eviction_hard,
            &self.eviction_soft,
            &self.eviction_soft_grace_period,
            &self.eviction_minimum_reclaim,
            self.eviction_pressure_transition_period,
            Duration::from_secs(self.eviction_max_pod_grace_period.into()),
        )
        .context("the options of eviction are not understood")
    }
}
