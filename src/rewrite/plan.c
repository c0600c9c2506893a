/* SPDX-License-Identifier: Apache-2.0 */
#include "rewrite/plan.h"

#include <stdlib.h>

#include "base/logging.h"
#include "rewrite/match.h"

#define RULE(name, summary) extern const amct_rule amct_rule_##name;
#include "rewrite/rules.def"
#undef RULE

static const amct_rule *const k_rules[] = {
#define RULE(name, summary) &amct_rule_##name,
#include "rewrite/rules.def"
#undef RULE
};
enum { RULE_COUNT = sizeof k_rules / sizeof *k_rules, ROUNDS_MAX = 8 };

static int by_place(const void *a, const void *b) {
  const amct_decision *x = a, *y = b;
  if (x->place != y->place) return x->place > y->place ? 1 : -1;
  return (x->turn > y->turn) - (x->turn < y->turn);
}

static bool is_root(const char *op) {
  for (size_t i = 0; i < RULE_COUNT; i++)
    if (amct_row_takes(&k_rules[i]->row[0], op)) return true;
  return false;
}

/* Places in the file before anything changes: roots may go, and the others move up. */
static amct_status note_places(amct_plan *plan, amct_error *err) {
  for (size_t i = 0; i < amct_graph_count(plan->graph); i++) {
    const amct_node *node = amct_graph_at(plan->graph, i);
    if (is_root(node->op))
      AMCT_TRY(amct_map_set(&plan->places, node, (void *)(uintptr_t)(i + 1), err));
  }
  return AMCT_OK;
}

static amct_status run_rule(amct_plan *plan, const amct_rule *rule, amct_error *err) {
  const size_t before = plan->done;
  AMCT_TRY(amct_rule_run(plan, rule, &plan->options, err));
  return plan->done > before ? amct_plan_find_orphans(plan, err) : AMCT_OK;
}

/* All rules, until a round changes nothing: what a fusion orphans may be all that kept
 * another from its place. */
static amct_status run_rules(amct_plan *plan, amct_error *err) {
  size_t before;
  int rounds = 0;
  AMCT_TRY(note_places(plan, err));
  AMCT_TRY(amct_plan_find_orphans(plan, err)); /* what only training runs */
  do {
    before = plan->done;
    for (size_t i = 0; i < RULE_COUNT; i++)
      AMCT_TRY(run_rule(plan, k_rules[i], err));
  } while (plan->done > before && ++rounds < ROUNDS_MAX);
  return AMCT_OK;
}

amct_status amct_plan_make(amct_plan **out, amct_graph *graph,
                           const amct_plan_options *options, amct_error *err) {
  amct_status status = AMCT_OK;
  amct_plan *plan = amct_alloc_array(1, sizeof *plan);
  *out = NULL;
  if (!plan) return amct_fail_memory(err);
  plan->graph = graph;
  plan->options = *options;
  if (options->do_fusion) status = run_rules(plan, err);
  if (status != AMCT_OK) {
    amct_plan_free(plan);
    return status;
  }
  if (plan->decisions.count)
    qsort(plan->decisions.at, plan->decisions.count, sizeof *plan->decisions.at,
          by_place);
  *out = plan;
  return AMCT_OK;
}

const amct_fold *amct_plan_fold(const amct_plan *plan, const amct_node *layer) {
  return amct_map_get(&plan->fold_by_layer, layer);
}

bool amct_plan_scales(const amct_fold *fold) {
  if (fold->before.count) return true;
  for (size_t i = 0; i < fold->steps.count; i++)
    if (amct_fold_scales(fold->steps.at[i].kind)) return true;
  return false;
}

static amct_status new_fold(amct_plan *plan, amct_node *layer, amct_fold **out,
                            amct_error *err) {
  amct_fold *fold = amct_arena_alloc(amct_graph_arena(plan->graph), sizeof *fold);
  if (!fold || !AMCT_VEC_PUSH(&plan->folds, fold)) return amct_fail_memory(err);
  fold->layer = layer;
  *out = fold;
  return amct_map_set(&plan->fold_by_layer, layer, fold, err);
}

amct_status amct_plan_note(amct_plan *plan, amct_node *layer, const amct_fold_ref *steps,
                           size_t count, const char *bias, amct_error *err) {
  amct_fold *fold = amct_map_get(&plan->fold_by_layer, layer);
  if (!fold) AMCT_TRY(new_fold(plan, layer, &fold, err));
  fold->bias = bias;
  fold->steps.count = 0;
  for (size_t i = 0; i < count; i++)
    if (!AMCT_VEC_PUSH(&fold->steps, steps[i])) return amct_fail_memory(err);
  return AMCT_OK;
}

amct_status amct_plan_note_before(amct_plan *plan, const amct_node *layer,
                                  const amct_fold_ref *norm, amct_error *err) {
  amct_fold *fold = amct_map_get(&plan->fold_by_layer, layer);
  if (!AMCT_VEC_PUSH(&fold->before, *norm)) return amct_fail_memory(err);
  memmove(fold->before.at + 1, fold->before.at,
          (fold->before.count - 1) * sizeof *fold->before.at);
  fold->before.at[0] = *norm;
  return AMCT_OK;
}

const char *amct_plan_refusal(const amct_plan *plan, const amct_node *root) {
  const size_t place = (size_t)(uintptr_t)amct_map_get(&plan->refused, root);
  return place ? plan->decisions.at[place - 1].reason : NULL;
}

amct_status amct_plan_note_made(amct_plan *plan, const amct_made *made, amct_error *err) {
  amct_made *kept = amct_arena_alloc(amct_graph_arena(plan->graph), sizeof *kept);
  if (!kept || !AMCT_VEC_PUSH(&plan->made, kept)) return amct_fail_memory(err);
  *kept = *made;
  kept->name = amct_graph_intern(plan->graph, made->name);
  if (!kept->name) return amct_fail_memory(err);
  return amct_map_set(&plan->made_by_name, kept->name, kept, err);
}

const amct_made *amct_plan_made(const amct_plan *plan, const amct_node *node) {
  return amct_map_get(&plan->made_by_name, node->name);
}

amct_status amct_plan_decide(amct_plan *plan, amct_decision decision, amct_error *err) {
  /* the map holds no zero: place + 1 */
  const size_t earlier = (size_t)(uintptr_t)amct_map_get(&plan->refused, decision.root);
  decision.place = (size_t)(uintptr_t)amct_map_get(&plan->places, decision.root);
  decision.turn = plan->turns++;
  plan->done += decision.reason == NULL;
  if (earlier)
    plan->decisions.at[earlier - 1] = decision;
  else if (!AMCT_VEC_PUSH(&plan->decisions, decision))
    return amct_fail_memory(err);
  const size_t place = earlier ? earlier : plan->decisions.count;
  if (decision.reason)
    return amct_map_set(&plan->refused, decision.root, (void *)(uintptr_t)place, err);
  amct_map_remove(&plan->refused, decision.root);
  return AMCT_OK;
}

void amct_plan_log(const amct_plan *plan, const char *module) {
  size_t done = 0;
  for (size_t i = 0; i < plan->decisions.count; i++) {
    const amct_decision *d = &plan->decisions.at[i];
    if (d->reason) {
      amct_log(AMCT_LOG_INFO, module, "%s: \"%s\" is not fused: %s", d->rule, d->node,
               d->reason);
      continue;
    }
    amct_log(AMCT_LOG_INFO, module, "%s: \"%s\" is %s%s%s", d->rule, d->node,
             d->done ? d->done : "fused", *d->layer ? " into " : "", d->layer);
    done++;
  }
  if (plan->options.do_fusion)
    amct_log(AMCT_LOG_INFO, module, "fusion: %zu places found, %zu fused, %zu declined",
             plan->decisions.count, done, plan->decisions.count - done);
  else
    amct_log(AMCT_LOG_INFO, module, "fusion is switched off");
}

const amct_rule *amct_rule_at(size_t i, const char **summary) {
  static const char *const summaries[] = {
#define RULE(name, text) text,
#include "rewrite/rules.def"
#undef RULE
  };
  if (i >= RULE_COUNT) return NULL;
  *summary = summaries[i];
  return k_rules[i];
}

bool amct_plan_fusible(const char *op) {
  for (size_t i = 0; i < RULE_COUNT; i++)
    for (size_t row = 0; row < AMCT_ROWS_MAX; row++)
      if (k_rules[i]->row[row].layer && amct_row_takes(&k_rules[i]->row[row], op))
        return true;
  return false;
}

void amct_plan_free(amct_plan *plan) {
  if (!plan) return;
  for (size_t i = 0; i < plan->folds.count; i++) {
    AMCT_VEC_FREE(&plan->folds.at[i]->before);
    AMCT_VEC_FREE(&plan->folds.at[i]->steps);
  }
  AMCT_VEC_FREE(&plan->folds);
  AMCT_VEC_FREE(&plan->made);
  AMCT_VEC_FREE(&plan->decisions);
  amct_map_free(&plan->fold_by_layer);
  amct_map_free(&plan->made_by_name);
  amct_map_free(&plan->refused);
  amct_map_free(&plan->places);
  amct_map_free(&plan->orphans);
  amct_free(plan);
}
