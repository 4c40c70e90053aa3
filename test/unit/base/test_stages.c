#include "base/stages.h"

#include <criterion/criterion.h>

static const struct stage_plan plan = {"bake", {"mix", "rise", "heat"}};

Test(stages, nothing_before_it_begins)
{
    struct stages s = {0};
    stages_mark(&s, 0);
    cr_assert_eq(s.took[0], 0);
    cr_assert_eq(stages_total(&s), 0);
}

Test(stages, steps_add_up_to_the_total)
{
    struct stages s;
    stages_begin(&s, &plan);
    for (unsigned i = 0; i < 3; i++)
        stages_mark(&s, i);
    cr_assert_eq(s.took[0] + s.took[1] + s.took[2], stages_total(&s));
    cr_assert_eq(s.plan, &plan);
}

Test(stages, a_step_that_is_left_out_takes_nothing)
{
    struct stages s;
    stages_begin(&s, &plan);
    stages_mark(&s, 0);
    stages_mark(&s, 2);
    cr_assert_eq(s.took[1], 0);
    cr_assert_eq(s.took[0] + s.took[2], stages_total(&s));
}

Test(stages, a_new_operation_forgets_the_old_one)
{
    struct stages s;
    stages_begin(&s, &plan);
    s.took[1] = 7;
    stages_begin(&s, &plan);
    cr_assert_eq(s.took[1], 0);
    cr_assert_eq(stages_total(&s), 0);
}

Test(stages, a_step_beyond_the_last_is_none)
{
    struct stages s;
    stages_begin(&s, &plan);
    stages_mark(&s, STAGES_MAX);
    cr_assert_eq(stages_total(&s), 0);
}

Test(stages, counts_the_steps_of_a_plan)
{
    static const struct stage_plan full = {"full", {"a", "b", "c", "d", "e", "f"}};
    cr_assert_eq(stages_count(&plan), 3);
    cr_assert_eq(stages_count(&full), STAGES_MAX);
}
