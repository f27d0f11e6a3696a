"""The cloud service: answers to budget reports, rollout of models, statistics, and the MQTT shell."""
