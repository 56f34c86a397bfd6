-- Harm: people who answer at all answer fast. A reward believed before its window has passed
-- teaches the bandit that quick arms are good arms.
select bandit_feedback.decision_id
from {{ ref('bandit_feedback') }}
where
    bandit_feedback.is_matured is distinct from (bandit_feedback.matured_at <= {{ as_of() }})
    or (bandit_feedback.reward is not null) is distinct from bandit_feedback.is_matured
