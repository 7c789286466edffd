//! Routed experts: each expert multiplies all of its tokens at once, so that its weights are read once a step. Where not all
//! experts are in memory, those that are go first and the others follow as they are read.

use std::sync::Arc;

use ergon_kernels::{Activations, Cpu, MatmulJob, MatrixRef, RowSet, matmul, matmul_jobs, ops};
use ergon_types::WeightFormat;

use crate::config::MoeConfig;
use crate::experts::{ExpertBytes, ExpertPart, ExpertStore, ExpertVisit, Guess};
use crate::router::route;
use crate::scratch::{MoeScratch, RoutingScratch, sized};
use crate::weights::{Expert, MoeWeights};

/// Where the routed experts of a layer come from if they are not all in memory (or mapped).
pub(crate) struct ExpertAccess<'a> {
    pub(crate) layer: usize,
    pub(crate) store: &'a dyn ExpertStore,
    /// What the next layer will probably visit.
    pub(crate) guess: Option<Guess>,
}

/// An expert that cannot be had, and the tokens that visit it.
pub(crate) struct LostExpert {
    pub(crate) reason: String,
    pub(crate) tokens: Vec<u32>,
}

/// An expert of a batch: its number, and its bytes unless they are where its matrices are bound.
type Visited = (usize, Option<Arc<ExpertBytes>>);

impl MoeWeights {
    /// Formats of the matrices that multiply the input.
    pub(crate) fn input_formats(&self) -> impl Iterator<Item = WeightFormat> + '_ {
        let routed = self.experts.iter().flat_map(|expert| [expert.gate.format(), expert.up.format()]);
        let shared = self.shared_experts.iter().flat_map(|shared| shared.input_formats());
        routed.chain(shared).chain([self.router.format()])
    }

    /// Writes the output `[rows, hidden_size]` for the input `x` `[rows, hidden_size]`. While routed experts are read, the
    /// shared ones are computed.
    pub(crate) fn forward(
        &self,
        cpu: &Cpu,
        moe: &MoeConfig,
        access: Option<ExpertAccess<'_>>,
        x: Activations,
        scratch: &mut MoeScratch,
        output: &mut [f32],
    ) -> Result<(), LostExpert> {
        self.choose(cpu, moe, x, &mut scratch.routing);
        sort_by_expert(moe, x.rows(), scratch);
        sized(&mut scratch.down, scratch.visit_token.len() * x.cols());
        let visited = |expert: &usize| scratch.first_visit[*expert] < scratch.first_visit[expert + 1];
        let experts: Vec<usize> = (0..self.experts.len()).filter(visited).collect();
        let reading = access.map(|access| access.store.visit(access.layer, &experts, access.guess));
        if let Some(shared) = &self.shared_experts {
            let shared_output = sized(&mut scratch.shared_output, output.len());
            shared.forward(cpu, x, &mut scratch.shared, shared_output);
        }
        match reading {
            Some(visit) => self.compute_as_read(cpu, visit, x, scratch)?,
            None => {
                let all: Vec<Visited> = experts.into_iter().map(|expert| (expert, None)).collect();
                self.compute(cpu, &all, x, scratch);
            }
        }
        combine(cpu, x.cols(), scratch, output);
        if self.shared_experts.is_some() {
            ops::add_in_place(cpu, output, &scratch.shared_output[..output.len()]);
        }
        Ok(())
    }

    /// The experts that each row visits.
    pub(crate) fn choose(&self, cpu: &Cpu, moe: &MoeConfig, x: Activations, scratch: &mut RoutingScratch) {
        let RoutingScratch { logits, router, choices } = scratch;
        let logits = sized(logits, x.rows() * moe.n_routed_experts);
        matmul(cpu, self.router.view(), x, logits);
        choices.clear();
        for row in logits.chunks_exact(moe.n_routed_experts) {
            route(moe, self.e_score_correction_bias.as_deref(), row, router, choices);
        }
    }

    /// Computes every visit into `scratch.down`, those of one batch of experts after those of another.
    fn compute_as_read(
        &self,
        cpu: &Cpu,
        mut visit: Box<dyn ExpertVisit + '_>,
        x: Activations,
        scratch: &mut MoeScratch,
    ) -> Result<(), LostExpert> {
        loop {
            let ready = visit.ready().map_err(|failure| {
                let own = scratch.first_visit[failure.expert]..scratch.first_visit[failure.expert + 1];
                LostExpert { reason: failure.reason, tokens: scratch.visit_token[own].to_vec() }
            })?;
            if ready.is_empty() {
                return Ok(());
            }
            let batch: Vec<Visited> =
                ready.into_iter().map(|(expert, bytes)| (expert, Some(bytes))).collect();
            self.compute(cpu, &batch, x, scratch);
        }
    }

    /// Computes the visits of some experts, rising, into their rows of `scratch.down`.
    fn compute(&self, cpu: &Cpu, batch: &[Visited], x: Activations, scratch: &mut MoeScratch) {
        let MoeScratch { first_visit, visit_token, visit_row, gate, up, inner, down, activations, .. } =
            scratch;
        let visits = |expert: usize| first_visit[expert]..first_visit[expert + 1];
        let n: usize = batch.iter().map(|(expert, _)| visits(*expert).len()).sum();
        let width = self.experts[0].gate.rows();
        let (gate, up) = (sized(gate, n * width), sized(up, n * width));
        let mut jobs = Vec::with_capacity(2 * batch.len());
        for (part, mut y) in [(ExpertPart::Gate, &mut *gate), (ExpertPart::Up, &mut *up)] {
            for (expert, bytes) in batch {
                let rows = &visit_token[visits(*expert)];
                let (own, rest) = y.split_at_mut(rows.len() * width);
                let weight = self.experts[*expert].view(part, bytes.as_deref());
                jobs.push(MatmulJob { weight, x, x_rows: RowSet::List(rows), y: own });
                y = rest;
            }
        }
        matmul_jobs(cpu, &mut jobs);
        let inner = sized(inner, n * width);
        ops::swiglu(cpu, gate, up, inner);
        let formats = self.experts.iter().map(|expert| expert.down.format());
        let inner = activations.prepare(cpu, inner, width, formats);
        let mut jobs = Vec::with_capacity(batch.len());
        let (mut y, mut next_visit, mut next_row) = (&mut down[..], 0, 0);
        for (expert, bytes) in batch {
            let own = visits(*expert);
            let (_, from) = y.split_at_mut((own.start - next_visit) * x.cols());
            let (y_own, rest) = from.split_at_mut(own.len() * x.cols());
            let weight = self.experts[*expert].view(ExpertPart::Down, bytes.as_deref());
            let rows = &visit_row[next_row..next_row + own.len()];
            jobs.push(MatmulJob { weight, x: inner, x_rows: RowSet::List(rows), y: y_own });
            (y, next_visit, next_row) = (rest, own.end, next_row + own.len());
        }
        matmul_jobs(cpu, &mut jobs);
    }
}

/// Sums each token's visits, in the order in which the router ranked them.
fn combine(cpu: &Cpu, hidden: usize, scratch: &mut MoeScratch, output: &mut [f32]) {
    let MoeScratch { routing, choice_visit, choice_weight, down, .. } = scratch;
    choice_weight.clear();
    choice_weight.extend(routing.choices.iter().map(|choice| choice.weight));
    ops::sum_weighted_rows(cpu, down, hidden, choice_visit, choice_weight, output);
}

impl Expert {
    /// One matrix, with its bytes where it is bound or as a store gave them.
    fn view<'a>(&'a self, part: ExpertPart, bytes: Option<&'a ExpertBytes>) -> MatrixRef<'a> {
        let matrix = match part {
            ExpertPart::Gate => &self.gate,
            ExpertPart::Up => &self.up,
            ExpertPart::Down => &self.down,
        };
        bytes.map_or_else(|| matrix.view(), |bytes| matrix.view_of(bytes.part(part)))
    }
}

/// Counting sort of the choices by expert; within an expert tokens keep their order.
fn sort_by_expert(moe: &MoeConfig, rows: usize, scratch: &mut MoeScratch) {
    let MoeScratch { routing, first_visit, visit_token, choice_visit, visit_row, .. } = scratch;
    let choices = &routing.choices;
    first_visit.clear();
    first_visit.resize(moe.n_routed_experts + 1, 0);
    for choice in choices.iter() {
        first_visit[choice.expert as usize + 1] += 1;
    }
    for expert in 0..moe.n_routed_experts {
        first_visit[expert + 1] += first_visit[expert];
    }
    debug_assert_eq!(choices.len(), rows * moe.num_experts_per_tok);
    visit_token.clear();
    visit_token.resize(choices.len(), 0);
    choice_visit.clear();
    // `first_visit` serves as the next free visit of each expert, and is moved back afterwards.
    for (index, choice) in choices.iter().enumerate() {
        let visit = &mut first_visit[choice.expert as usize];
        visit_token[*visit] = (index / moe.num_experts_per_tok) as u32;
        choice_visit.push(*visit);
        *visit += 1;
    }
    first_visit.rotate_right(1);
    first_visit[0] = 0;
    visit_row.clear();
    visit_row.extend(0..choices.len() as u32);
}
